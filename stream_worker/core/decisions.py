"""Decisions on items, as records of the decisions topic: block one, hold it, or approve it, with who says so and why.

`{"item": "p7", "decision": "block", "reason": "recalled", "by": "ann", "ts": 1765000000.0}`, with the item as its key.
The topic is the audit as well, so a record without a reason, a name or a time decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.event_fields import id_text
from stream_worker.core.events import DeadLetter, Record
from stream_worker.core.item_fields import time_seconds
from stream_worker.core.json_object import json_object
from stream_worker.core.reasons import refuse

BLOCK, HOLD, APPROVE = "block", "hold", "approve"
DECISIONS = (BLOCK, HOLD, APPROVE)
MOST_CHARACTERS = 1_000  # of a reason or a name; not tuned


@dataclass(frozen=True)
class Decision:
    """A decision of somebody on an item. ts: epoch seconds; it is told, and decides no order."""

    item: str
    decision: str
    reason: str
    by: str
    ts: float


def encode_decision(decision: Decision) -> bytes:
    return orjson.dumps(asdict(decision))


def decode_decision(record: Record) -> Decision:
    """Return the decision in a record. Raises InvalidEvent if any part of it is missing or wrong."""
    if record.fault is not None:
        raise InvalidEvent(*record.fault)
    if record.value is None:
        raise InvalidEvent("Empty", "value: expected a decision; to take one back, write another")
    document = json_object(record.value)
    item = id_text("item", document.get("item"))
    if record.key is not None and record.key != item.encode():
        refuse("BadId", "key", f"the item, {item!r}, or no key", record.key.decode("utf-8", "backslashreplace"))
    return Decision(
        item,
        _word(document.get("decision")),
        _text("reason", document.get("reason")),
        _text("by", document.get("by")),
        time_seconds("ts", document.get("ts")),
    )


def decode_decisions(records: Sequence[Record]) -> tuple[list[Decision], list[DeadLetter]]:
    """Return the decisions in the records' order, and every record that is none."""
    decisions, unreadable = [], []
    for record in records:
        try:
            decisions.append(decode_decision(record))
        except InvalidEvent as fault:
            unreadable.append(DeadLetter(record, fault.error, fault.reason))
    return decisions, unreadable


def _word(value: Any) -> str:
    if value not in DECISIONS or type(value) is not str:
        refuse("WrongType" if value is None else "UnknownType", "decision", "block, hold or approve", value)
    return value


def _text(name: str, value: Any) -> str:
    if type(value) is not str or not 0 < len(value.strip()) <= MOST_CHARACTERS:
        refuse("WrongType", name, f"a text of 1 to {MOST_CHARACTERS:,} characters", value)
    return value


def hidden_by(decision: str, told: Collection[str], hold_new: bool) -> list[str]:
    """Return why lists leave an item out; empty: they may name it.

    decision: the one in force, "" for none.
    told: what the items topic says of it, of "gone", "not available", "blocked" and "on hold".

    >>> hidden_by("approve", ["on hold"], hold_new=True)
    []
    >>> hidden_by("approve", ["not available"], hold_new=False)
    ['not available']
    """
    decided = {BLOCK: ["blocked by decision"], HOLD: ["held by decision"]}.get(decision, [])
    waits = ["not approved yet"] if hold_new and not decision else []
    return decided + waits + [reason for reason in told if reason != "on hold" or decision != APPROVE]
