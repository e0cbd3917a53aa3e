"""Weights that lines share: what a line gives to the others, and the mean with theirs that it takes."""
