"""Writes the configuration in force as TOML that the commands read, with secrets masked."""

from __future__ import annotations

from collections.abc import Iterator

from stream_worker.config import Settings, values_of
from stream_worker.core.masking import without_secrets
from stream_worker.core.toml_text import key, literal


def lines_of(settings: Settings) -> Iterator[str]:
    """Yield a line for every key in its section. TOML has no word for nothing: such a key is a comment."""
    section = ""
    for (first, *names), value in values_of(settings):
        if first != section:
            yield from [""] if section else []
            yield f"[{first}]"
            section = first
        name = ".".join(map(key, names))
        shown = without_secrets(".".join([first, *names]), value)
        yield f"# {name} is not set" if shown is None else f"{name} = {literal(shown)}"
