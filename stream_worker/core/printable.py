"""Text that is safe for a terminal: ids come from outside, and some characters are commands to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with escapes for characters that move the cursor, colour, turn the direction or can't be seen.

    >>> printable("tea\\x1b]0;owned\\x07 pot")
    'tea\\\\x1b]0;owned\\\\x07 pot'
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
