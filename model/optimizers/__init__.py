"""Optimizers: Adam for rows and for modules, with its guards, and averages of weights."""
