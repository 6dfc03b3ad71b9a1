"""What scripts/reproduce.py runs: sets of runs, and the tables and figures made of them."""
