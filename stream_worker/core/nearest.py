"""The end of a message about an unknown name: the most similar known one."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(name: str, known: Collection[str], most: int = 100) -> str:
    """Return the most similar known name as a question, else the known names, at most `most` of them."""
    if asked := did_you_mean(name, known):
        return asked
    more = f", and {len(known) - most:,} more" if len(known) > most else ""
    return f"; known are {', '.join(list(known)[:most])}{more}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the most similar known name as a question; empty if none is similar."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
