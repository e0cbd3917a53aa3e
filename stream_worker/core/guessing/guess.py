"""Guesses a mapping: a preset that reads the records, else places found by names and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stream_worker.core.amounts import amount
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import NoEvents
from stream_worker.core.events import Record
from stream_worker.core.guessing.documents import Documents
from stream_worker.core.guessing.proposal import Proposal, propose
from stream_worker.core.guessing.trying import fitting, reads
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.printable import printable
from stream_worker.core.sample import Sample, about_keys, counts, reasons, sample

_BETTER = 2  # times more records with events, by which an own mapping goes before a preset (not tuned)
_SHOWN_FIELDS = 20  # fields that the error about documents without a user names

MakeDecoder = Callable[[EventsConfig], Decoder]


@dataclass(frozen=True)
class Guess:
    """A mapping that reads some records. preset: its name, or empty; found: what it makes of the records."""

    preset: str
    proposal: Proposal
    found: Sample


def guess(
    records: Sequence[Record],
    documents: Documents,
    presets: Mapping[str, EventsConfig],
    decoder: MakeDecoder,
    *,
    timed: bool = True,
) -> Guess:
    """Return the mapping that reads the records best. Raises NoEvents if none is found.

    timed: whether records have a time of their own, as those of a topic do, and rows of a file do not.
    """
    ready = fitting(presets, records, decoder)
    own = _own(records, documents, decoder, timed)
    if ready and (own is None or not _is_better(own.found, ready[0][1])):
        name, found = ready[0]
        return Guess(name, Proposal({"preset": name}), found)
    if own is None:
        raise NoEvents(f"nothing looks like a user and an item in these records: {_told(documents)}")
    if "ts" not in own.proposal.keys:
        raise NoEvents(f"nothing looks like a time in these rows, and a replay needs one: {_told(documents)}")
    return own


def _own(records: Sequence[Record], documents: Documents, decoder: MakeDecoder, timed: bool) -> Guess | None:
    proposal = propose(documents.documents, documents.records, timed=timed)
    return None if proposal is None else Guess("", proposal, sample(decoder(proposal.config()), records))


def _is_better(own: Sample, ready: Sample) -> bool:
    return reads(own) and own.with_events > _BETTER * ready.with_events


def _told(documents: Documents) -> str:
    names = sorted({name for document in documents.documents if isinstance(document, dict) for name in document})
    fields = f"; their fields are {', '.join(names[:_SHOWN_FIELDS])}" if names else ""
    return printable(f"{documents.told()}{fields}")


def remarks(found: Guess, documents: Documents, *, keyed: bool) -> Iterator[str]:
    """Yield what is to be known of a guess. `keyed`: the records are those of a topic."""
    yield f"Of {amount(found.found.records, 'record')} ({documents.told()}): {counts(found.found)}."
    yield from (f"- {reason}" for reason in reasons(found.found))
    if keyed:
        yield f"{about_keys(found.found)}."
