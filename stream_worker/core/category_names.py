"""The names of categories by their codes, since the model knows codes alone; a bounded number of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

MOST_NAMES = 4_096  # those that came first; not tuned


def code_of(name: str) -> int:
    """Return the 32-bit checksum that stands for a category: the same in every process, and never 0 (0 is none)."""
    return zlib.crc32(name.encode()) or 1


def note_name(names: dict[int, str], code: int, name: str) -> None:
    """Note the name of one category, while there is room for it."""
    if len(names) < MOST_NAMES:
        names.setdefault(code, name)


def note_names(names: dict[int, str], more: Iterable[str]) -> None:
    """Note the names of categories; empty ones are none."""
    for name in dict.fromkeys(more):
        if name:
            note_name(names, code_of(name), name)
