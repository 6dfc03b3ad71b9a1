"""Finished runs beside each other; never trains."""
