"""Model-Agnostic Meta-Learning in raw numpy: the mathematics (`core`) and an experiment runner (`experiment`)."""
