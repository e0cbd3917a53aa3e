"""Tables of docs/ that are made from the figures in benchmarks/results."""
