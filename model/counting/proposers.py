"""The proposers of candidates, in the order in which they propose, and how many candidates each may name."""

from __future__ import annotations

import numpy as np

PROPOSERS = ("encoder", "follows", "next", "own", "together", "two_hop", "hot")
ENCODER, FOLLOWS, NEXT, OWN, TOGETHER, TWO_HOP, HOT = range(len(PROPOSERS))
NO_PROPOSER = -1  # the proposer of items that only fill a list up, and of places without an item
LONGEST_RING = 255  # ring entries; the upper bound of `model.ring_size`
# Candidates that each proposer may name, by round. The first round gives every proposer some places, the second one
# fills what is left; the encoder names `model.encoder_candidates` at most. Measured:
# docs/experiments/candidates-in-two-rounds.md; 60 own items: docs/experiments/ring.md.
QUOTA_RS = np.array([[16, 20, 12, 30, 40, 12, 16], [LONGEST_RING, 40, 24, 60, 56, 20, 40]])
HOT_AT_MOST = np.array([40, 40, 20, 20])  # hot items per half-life, whatever the quota; not tuned
