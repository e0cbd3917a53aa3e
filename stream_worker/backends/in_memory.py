"""Twins of the outside things, in memory: same interfaces, same contract suites, nothing to install."""

from __future__ import annotations
