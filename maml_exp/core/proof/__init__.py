"""Proof of the gradients: a slow and obvious reference, and the checks against it."""
