"""What a run leaves on disk: files, the run folder and its states, checkpoints, metrics, provenance, records."""
