"""What a run is told: the schema, composing conf/ and overrides, saved configurations."""
