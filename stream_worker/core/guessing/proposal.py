"""Proposes `[events]` for documents that no preset reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.guessing import places
from stream_worker.core.guessing.kinds import is_login, role_of
from stream_worker.core.guessing.names import name_score
from stream_worker.core.guessing.shapes import Shapes, Values
from stream_worker.core.mapping.config import ALIAS, IGNORE, EventsConfig
from stream_worker.core.mapping.mapper import Mapper
from stream_worker.core.number_text import whole_text

_MOST_TYPES = 16  # tables of [events.types]; the model has no more
_LEAST_WITH_ITEM = 0.5  # share of a type's events that have to have an item (not tuned)
_LEAST_WITH_OLD_ID = 0.5  # share of a login's records that have to have the id before it (not tuned)
_ORDER = re.compile(r"order|purchase|transaction|receipt|invoice|checkout", re.IGNORECASE)
_SHOWN = 3  # values that a note shows


@dataclass
class Proposal:
    """A mapping that was guessed.

    keys: `[events]` without its types. notes: what was seen at each key, in words.
    types: event type -> its role (empty: none). meanings: value -> event type, "ignore" or "alias". counts: events of
    each.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def config(self) -> EventsConfig:
        """Return the mapping as the configuration. Raises ValidationError."""
        tables: dict[str, Any] = {name: {"role": role} for name, role in self.types.items()}
        return EventsConfig(**self.keys, types=tables | self.meanings)


def propose(documents: Sequence[Any], records: Sequence[Record], *, timed: bool = True) -> Proposal | None:
    """Return the likeliest mapping; None if there is nothing like a user or an item in the documents.

    records: those of the documents.
    timed: whether records have a time of their own, as those of a topic do. Where they have none and nothing looks like
        a time, the mapping has no `ts`.
    """
    shapes = Shapes(documents)
    arrays, item = places.items(shapes)
    taken = {(v.each, v.path) for v in item}
    found = {"item": item}
    for part in ("user", "ts", "type", "id", "session", "category", "value"):
        near = part in ("category", "value")
        if part == "user":
            found[part] = places.users(shapes, arrays, taken)
        elif near:
            found[part] = places.beside(part, shapes, item, taken)
        else:
            found[part] = places.place(part, shapes, arrays, taken)
        taken |= {(v.each, v.path) for v in found[part]}
    if not found["ts"] and (time := places.time_by_values(shapes)):
        found["ts"] = [time]
        taken.add((time.each, time.path))
    for part in ("user", "item"):
        if not found[part] and (guess := places.by_values(shapes, taken)):
            found[part] = [guess]
            taken.add((guess.each, guess.path))
    if not found["user"] or not found["item"]:
        return None
    proposal = _with_keys(found, arrays, shapes, timed)
    _add_types(proposal, documents, records, places.old_ids(shapes, found["user"]))
    return proposal


def _with_keys(found: dict[str, list[Values]], arrays: list[str], shapes: Shapes, timed: bool) -> Proposal:
    proposal = Proposal()
    for part in ("user", "type", "each", "item", "ts", "value", "category", "session", "id"):
        if part == "each":
            if arrays:
                proposal.keys["each"] = _one_or_all(arrays)
                share = len(set().union(*(shapes.arrays[array] for array in arrays))) / max(1, shapes.count)
                proposal.notes["each"] = f"an array in {share:.0%} of the records: an event an element"
        elif found[part]:
            proposal.keys[part] = _one_or_all([v.path for v in found[part]])
            proposal.notes[part] = _note(part, found[part], shapes)
        elif ("", part) in shapes.values and part in ("session", "value"):
            proposal.keys[part] = ""
    if timed:
        _add_record_time(proposal, found["ts"], shapes)
    return proposal


def _one_or_all(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def _add_record_time(proposal: Proposal, ts: list[Values], shapes: Shapes) -> None:
    covered = set().union(*(v.documents for v in ts))
    if len(covered) < shapes.count:
        paths = [v.path for v in ts]
        proposal.keys["ts"] = _one_or_all([*paths, "record_time"])
        proposal.notes.setdefault("ts", "no time was found: the record's own counts")


def _note(part: str, found: list[Values], shapes: Shapes) -> str:
    covered = len(set().union(*(v.documents for v in found))) / max(1, shapes.count)
    first = found[0]
    share = f"in {covered:.0%} of the records" + ("" if name_score(part, first) else ", told by its values only")
    if part == "ts":
        return f"{share}, {first.units.most_common(1)[0][0].replace('text', 'dates')}"
    if part == "user" and len(found) > 1:
        return f"{share}: {', '.join(f'{_share(v, shapes):.0%} have {v.path}' for v in found)}"
    examples = ", ".join(repr(value[:40]) for value, _ in first.distinct.most_common(_SHOWN))
    return f"{share}, {len(first.distinct):,} different: {examples}"


def _share(values: Values, shapes: Shapes) -> float:
    return len(values.documents) / max(1, shapes.count)


def _add_types(
    proposal: Proposal, documents: Sequence[Any], records: Sequence[Record], old_ids: Sequence[Values]
) -> None:
    """Add what the values of the type mean: an event type with its role, "alias" for a login that names an old id, or
    "ignore" where there is no item."""
    before = [v.path for v in old_ids]
    mapper = Mapper(EventsConfig(**proposal.keys, alias=tuple(before)))
    every, with_item, with_old_id = _counted(mapper, documents, records)
    if "type" not in proposal.keys or not every:
        _add_default_type(proposal)
        return
    groups = _folded(every)
    proposal.keys |= {"fold_types": True} if any(len(names) > 1 for names in groups.values()) else {}
    for names in groups.values():
        name, count = names[0], sum(every[name] for name in names)
        proposal.counts[name] = count
        if is_login(name) and sum(with_old_id[name] for name in names) >= _LEAST_WITH_OLD_ID * count:
            proposal.meanings[name] = ALIAS
            proposal.keys["alias"] = _one_or_all(before)
            proposal.notes["alias"] = "the id before a login"
        elif role_of(name) == IGNORE or sum(with_item[name] for name in names) < _LEAST_WITH_ITEM * count:
            proposal.meanings[name] = IGNORE
        elif len(proposal.types) < _MOST_TYPES:
            proposal.types[name] = role_of(name)
        else:
            proposal.meanings[name] = _same_role(proposal.types, role_of(name))
    if not proposal.types:
        proposal.meanings.clear()
        proposal.keys.pop("alias", None)
        _add_default_type(proposal)


def _counted(mapper: Mapper, documents: Sequence[Any], records: Sequence[Record]) -> tuple[Counter[str], ...]:
    """Return the events of each type, those of them that have an item, and those that have another id of the user."""
    every, with_item, with_old_id = Counter[str](), Counter[str](), Counter[str]()
    for document, record in zip(documents, records, strict=True):
        try:
            scopes = mapper.scopes(document, record)
        except InvalidEvent:
            continue
        for scope in scopes:
            values = mapper.values(scope, record)
            given = values.get("type")
            kind = given if isinstance(given, str) else whole_text(given)
            if kind:
                every[kind] += 1
                with_item[kind] += values.get("item") not in (None, "")
                with_old_id[kind] += mapper.user_before(scope, record) not in (None, "", values.get("user"))
    return every, with_item, with_old_id


def _folded(counts: Counter[str]) -> dict[str, list[str]]:
    """Return the spellings of each type, the commonest first."""
    groups: dict[str, list[str]] = {}
    for name, _ in counts.most_common():
        groups.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    return groups


def _same_role(types: dict[str, str], role: str) -> str:
    return next((name for name, known in types.items() if known == role), IGNORE)


def _add_default_type(proposal: Proposal) -> None:
    """Name the only type of events that have none: purchases where the records speak of orders."""
    words = " ".join(str(value) for value in proposal.keys.values())
    name = "purchase" if "each" in proposal.keys or _ORDER.search(words) else "view"
    proposal.keys.pop("type", None)
    proposal.keys["default_type"] = name
    proposal.notes["default_type"] = "no type was found: all events are of this one"
    proposal.types = {name: ""}
