"""Figures of one run, and what all figures share. Imported only when one is drawn."""
