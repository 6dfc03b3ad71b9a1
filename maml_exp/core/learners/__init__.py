"""Ways to learn from a support set, a file each."""
