"""Optimizers: Adam for rows of a table and for modules, a guard of its steps, and averages of weights."""
