"""The passes of a gradient inner loop; knows no method."""
