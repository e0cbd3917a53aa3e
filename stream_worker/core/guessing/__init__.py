"""Guesses a mapping from records: the place of each part of an event, by names and by values. Pure rules, no model."""
