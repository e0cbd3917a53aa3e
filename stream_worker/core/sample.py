"""A sample of records as a configuration understands it: events, ignored records, dead letters, and whose keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream_worker.core.amounts import amount
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import DeadLetter, Events, Record
from stream_worker.core.fault_counts import FaultCounts
from stream_worker.core.printable import printable

_MOST_KINDS = 5  # kinds of dead letters, and of ignored types, that are told (not tuned)


@dataclass(frozen=True)
class Sample:
    """Events, dead letters and the rest that a decoder made of some records.

    records: their number. with_events: of those with at least one event. keyed: of those whose key is the event's user.
    unseen: event types of the configuration that none of the events has.
    """

    records: int
    with_events: int
    keyed: int
    events: Events
    letters: Sequence[DeadLetter]
    ignored: Counter[str]
    aliases: int
    unseen: Sequence[str]
    type_names: Sequence[str]


def sample(decoder: Decoder, records: Sequence[Record]) -> Sample:
    """Decode some records. The decoder must be a new one."""
    events, letters = decoder.decode(records)
    places = zip(events.partition_B.tolist(), events.offset_B.tolist(), events.users, strict=True)
    users = {(partition, offset): user for partition, offset, user in places}
    keys = {(record.partition, record.offset): record.key for record in records}
    names = list(decoder.config.named)
    seen = set(events.type_B.tolist())
    return Sample(
        records=len(records),
        with_events=len(users),
        keyed=sum(keys[place] == user.encode() for place, user in users.items()),
        events=events,
        letters=letters,
        ignored=Counter(decoder.ignored),
        aliases=len(decoder.aliases),
        unseen=[name for code, name in enumerate(names) if code not in seen],
        type_names=names,
    )


def counts(found: Sample) -> str:
    """Return what the records are, in words for a person."""
    parts = [
        f"{found.with_events:,} with {amount(len(found.events), 'event')}",
        f"{found.ignored.total():,} ignored",
        *([f"{amount(found.aliases, 'alias', 'aliases')}"] if found.aliases else []),
        amount(len(found.letters), "dead letter"),
    ]
    return ", ".join(parts)


def shown(found: Sample, number: int) -> Iterator[str]:
    """Yield the last events as they were understood, one line each: user, type, item, time. Events of the same record
    share a line."""
    events = found.events
    groups: dict[tuple[int, int], list[int]] = {}
    for row, place in enumerate(zip(events.partition_B.tolist(), events.offset_B.tolist(), strict=True)):
        groups.setdefault(place, []).append(row)
    for rows in list(groups.values())[-number:]:
        first = rows[0]
        when = datetime.fromtimestamp(events.ts_B[first], UTC).isoformat(sep=" ", timespec="seconds")
        kind = found.type_names[events.type_B[first]]
        items = ", ".join(events.items[row] for row in rows)
        yield printable(f"{events.users[first]}  {kind}  {items}  {when.removesuffix('+00:00')} UTC")


def reasons(found: Sample) -> Iterator[str]:
    """Yield why records are no events, with their numbers, the commonest reasons first."""
    faults = FaultCounts()
    for letter in found.letters:
        faults.add(letter.error, letter.reason, letter.record.place)
    for kind in faults.commonest(_MOST_KINDS):
        yield printable(f"{kind.count:,} {kind.name}, the first in {kind.place}: {kind.reason}")
    if found.ignored:
        told = ", ".join(f"{count:,} {name}" for name, count in found.ignored.most_common(_MOST_KINDS))
        yield printable(f"ignored: {told}")


def about_keys(found: Sample) -> str:
    """Return how many records are keyed by their user; if not all of them are, as a warning of what it costs, with its
    remedy."""
    said = f"{found.keyed:,} of {amount(found.with_events, 'record')} with events are keyed by their user"
    if found.keyed == found.with_events:
        return said
    return (
        f"warning: {said}: events of a user whose records have several keys can change their order, and one with "
        "records in several partitions has a memory in each; let the producer send the user's id as the record's key "
        "(docs/contracts.md)"
    )
