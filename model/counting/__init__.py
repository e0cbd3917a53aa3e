"""Compiled counting: what follows what, what is popular, what users return to, and the candidates that follow."""
