"""How good the lists are: on recorded logs, and on simulated streams whose changes are known."""
