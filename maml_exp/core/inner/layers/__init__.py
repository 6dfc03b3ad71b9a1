"""One layer in the inner loop: its representations, the rule that chooses one, its rates."""
