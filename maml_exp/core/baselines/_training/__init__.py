"""Training tasks as baselines see them: as curves over their inputs, and as points of classes."""
