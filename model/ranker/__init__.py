"""The ranker that orders candidates, and its training."""
