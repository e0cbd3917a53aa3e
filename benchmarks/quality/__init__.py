"""The quality of the lists, on recorded logs and on simulated streams whose changes are known."""
