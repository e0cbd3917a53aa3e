"""Writes a guess as TOML with comments, for `worker.toml` or for the mapping file of a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stream_worker.core.amounts import amount
from stream_worker.core.guessing.proposal import Proposal
from stream_worker.core.printable import printable
from stream_worker.core.toml_text import key, literal

_COMMENT_COLUMN = 40
_OUTSIDE = ("preset", "each", "default_type", "fold_types")  # keys of a mapping file that are in no section
# Where a log's mapping has no event type of its own: the default ones of the configuration by role.
_DEFAULT_TYPES = {"view": "view", "cart": "cart", "purchase": "purchase", "rating": "rating", "": "click"}


def events_section(proposal: Proposal) -> Iterator[str]:
    """Yield the lines of `[events]` and its types."""
    yield "[events]"
    yield from _keys(proposal.keys, proposal.notes)
    if proposal.meanings:
        yield ""
        yield "[events.types]"
        for value, meaning in proposal.meanings.items():
            yield _line(value, meaning, amount(proposal.counts[value], "event"))
    for name, role in proposal.types.items():
        yield ""
        yield _noted(f"[events.types.{key(name)}]", _count(proposal, name))
        if role and role != name:
            yield _line("role", role, "")


def _count(proposal: Proposal, name: str) -> str:
    return amount(proposal.counts[name], "event") if proposal.counts[name] else ""


def mapping_file(proposal: Proposal, more: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a log's mapping file. `more`: keys beside the fields, such as `format`."""
    outside = {name: value for name, value in proposal.keys.items() if name in _OUTSIDE}
    if above := {**more, **outside}:
        yield from _keys(above, proposal.notes)
        yield ""
    fields = {name: value for name, value in proposal.keys.items() if name not in outside and value}
    if fields:
        yield "[fields]"
        yield from _keys(fields, proposal.notes)
    known = {name: _DEFAULT_TYPES.get(role, "ignore") for name, role in proposal.types.items()}
    meanings = {name: type_ for name, type_ in (known | proposal.meanings).items() if name != type_}
    if meanings and "type" in proposal.keys:
        yield ""
        yield "[types]"
        for value, meaning in meanings.items():
            yield _line(value, known.get(meaning, meaning), _count(proposal, value))


def _keys(keys: Mapping[str, Any], notes: Mapping[str, str]) -> Iterator[str]:
    for name, value in keys.items():
        yield _line(name, value, notes.get(name, ""))


def _line(name: str, value: Any, note: str) -> str:
    return _noted(f"{key(name)} = {literal(value)}", note)


def _noted(line: str, note: str) -> str:
    return f"{line:<{_COMMENT_COLUMN}}  # {printable(note)}" if note else line
