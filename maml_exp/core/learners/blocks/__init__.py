"""What learners are made of: layers, attention, a memory cell, learned rates."""
