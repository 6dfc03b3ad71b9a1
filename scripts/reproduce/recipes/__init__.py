"""What scripts/reproduce runs: sets of runs, and the tables and figures made of them."""
