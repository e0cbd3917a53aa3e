"""Text as a terminal may show it: ids come from outside, and some characters a terminal obeys instead."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with escapes for what moves the cursor, colours, turns the direction or can't be seen.

    >>> printable("tea\\x1b]0;owned\\x07 pot")
    'tea\\\\x1b]0;owned\\\\x07 pot'
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
