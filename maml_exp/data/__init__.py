"""Files of the user's and ours become arrays."""
