"""Optimizers of the outer loop, a file each."""
