"""The end of a message about an unknown name: the most similar known one."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(name: str, known: Collection[str]) -> str:
    """Return the most similar known name as a question, else all known names."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(known)}"
