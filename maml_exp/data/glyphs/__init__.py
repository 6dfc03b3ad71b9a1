"""Characters of many scripts, rendered from the font files that matplotlib brings, once, and kept in a cache."""
