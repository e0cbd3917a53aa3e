"""Tries ready mappings on records: the share of the records that each one reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.sample import Sample, sample

_MOST_DEAD = 0.1  # dead letters allowed, as a share of all records (not tuned)
_MOST_DEAD_OF_READ = 0.5  # or of those with events, if that is more (not tuned)
_LEAST_READ = 0.02  # share of the records that must hold events (not tuned)
# (bytes of a value, name of a header) that nobody else writes, of presets whose other words are not theirs alone.
_MARKS = {"cloudevents": (b"specversion", "ce_specversion"), "rudderstack": (b"rudder", "")}


def fitting(
    presets: Mapping[str, EventsConfig], records: Sequence[Record], decoder: Callable[[EventsConfig], Decoder]
) -> list[tuple[str, Sample]]:
    """Return the presets that read these records, the best first. Of equal ones that whose name is in the records."""
    tried = [(name, sample(decoder(config), records)) for name, config in presets.items() if _may_be(name, records)]
    good = [(name, found) for name, found in tried if reads(found)]
    return sorted(good, key=lambda pair: (-pair[1].with_events, len(pair[1].letters), not _named(pair[0], records)))


def reads(found: Sample) -> bool:
    """Return True if the mapping is one for these records: it finds events, and few dead letters."""
    allowed = max(_MOST_DEAD * found.records, _MOST_DEAD_OF_READ * found.with_events)
    return found.with_events > _LEAST_READ * found.records and len(found.letters) <= allowed


def _may_be(name: str, records: Sequence[Record]) -> bool:
    if name not in _MARKS:
        return True
    inside, header = _MARKS[name]
    return any(inside in (record.value or b"") or header in dict(record.headers) for record in records)


def _named(name: str, records: Sequence[Record]) -> bool:
    return any(name.encode() in value.lower() for value in _values(records))


def _values(records: Sequence[Record]) -> Iterator[bytes]:
    return (record.value for record in records if record.value)
