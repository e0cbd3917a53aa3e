"""The stream worker: consume, remember, predict, score, learn, recommend, commit."""

__version__ = "0.2.0"
