"""`stream-worker why`: says why an item is in a user's list, at which place, or why it isn't."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from model.why import Why, why
from stream_worker.assembly import memory_group
from stream_worker.backends.checkpoint import newest_of
from stream_worker.backends.kafka import require_topic
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.core.amounts import amount
from stream_worker.core.codec import decode_recommendation
from stream_worker.core.errors import ConfigurationError, InvalidEvent, StreamWorkerError
from stream_worker.core.events import Recommendation
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.memory_record import fault_of, header_of
from stream_worker.core.printable import printable
from stream_worker.core.source_id import SourceId
from stream_worker.exit_codes import ExitCode
from stream_worker.standing import Standing, memories_of

_LISTS = 20_000  # newest lists of the output topic among which the user's is looked for; not tuned
_PARTS = 8  # features that are shown to a person; not tuned


class NotFound(StreamWorkerError):  # noqa: N818
    """A user or an item of which nothing is known; the message says where it was looked for."""


@dataclass(frozen=True)
class Remembered:
    """The user's newest memory record: the partition, the count of events, the time of the last one."""

    partition: int
    events: int
    ts: float


@dataclass(frozen=True)
class Published:
    """The user's newest published list, as far as it could be read. `unread`: why it was not; empty if it was."""

    found: Recommendation | None = None
    timestamp: float = 0.0
    unread: str = ""


def command(user: str, item: str, config_path: Path | None, from_path: Path | None, as_json: bool) -> int:
    settings = settings_from(config_path)
    snapshot = _newest(settings, from_path)
    key, blob, standing = _standing(settings, snapshot, user)
    row = int(standing.line.learner.catalog.find([item])[0])
    if row < 0:
        raise NotFound(_unknown(item, snapshot, len(standing.line.learner.catalog)))
    header = header_of(blob)
    remembered = Remembered(key[0], int(header["events"]), float(header["ts"]))
    slot = standing.line.learner.users.find([key])[0]
    answer = why(standing.line.learner, int(slot), row)
    told = _told(user, item, answer, standing, snapshot, remembered, _published(settings, user), time.time())
    print(orjson.dumps(told).decode() if as_json else "\n".join(map(printable, _lines(told))))
    return ExitCode.DONE


# -- what there is ---------------------------------------------------------------------------------------------


def _newest(settings: Settings, from_path: Path | None) -> Snapshot:
    """Return the newest checkpoint of this topic and group. Raises ConfigurationError if there is none."""
    kafka, path = settings.kafka, Path(settings.checkpoint.path)
    if from_path is not None:
        if (found := newest_of(from_path)) is None:
            raise ConfigurationError(f"--from: no readable checkpoint in {from_path}")
        return found
    found = newest_of(path, SourceId(kafka.input_topic, group=kafka.group_id).is_same)
    if found is None:
        raise ConfigurationError(
            f"checkpoint.path: no checkpoint of {memory_group(settings)} in {path.resolve()}: a worker writes one "
            f"every {settings.checkpoint.interval_seconds:g} s; run this where its folder is, or name one by --from"
        )
    return found


def _standing(settings: Settings, snapshot: Snapshot, user: str) -> tuple[tuple[int, str], bytes, Standing]:
    """Return the key and the newest record of a user, and the line of the checkpoint with this user on the device."""
    with closing(memories_of(settings, snapshot)) as store:
        records = [((partition, name), blob) for partition, name, blob in store.scan(user) if not fault_of(blob)]
        if not records:
            where = memory_group(settings) if store.durable else "the checkpoint"
            raise NotFound(
                f"user {user!r}: no memory record in {where}; ids are compared letter by letter, and a new user has a "
                "record within seconds of the first event"
            )
        key, blob = max(records, key=lambda record: header_of(record[1])["ts"])
        standing = Standing(settings, snapshot)
        standing.put([key], [blob], store)
    return key, blob, standing


def _unknown(item: str, snapshot: Snapshot, items: int) -> str:
    return (
        f"item {item!r}: not among the {amount(items, 'item')} of the checkpoint of {_when(snapshot.created)}; nobody "
        "has touched it up to then, or it has left the catalogue (model.max_items, model.item_expiry_days)"
    )


def _published(settings: Settings, user: str) -> Published:
    """Return the user's newest list among the newest ones of the output topic."""
    kafka = settings.kafka
    try:
        require_topic(kafka, kafka.output_topic)
        with closing(SpanReader(kafka, kafka.output_topic)) as reader:
            newest = reader.newest(_LISTS)
    except StreamWorkerError as fault:
        return Published(unread=str(fault))
    for record in reversed(newest):
        if record.key == user.encode() and record.value is not None:
            try:
                return Published(decode_recommendation(record.value), record.timestamp_ms / 1000)
            except InvalidEvent as fault:
                return Published(unread=str(fault))
    return Published(unread=f"no list of this user is among the newest {len(newest):,} of {kafka.output_topic}")


# -- what is said ----------------------------------------------------------------------------------------------


def _told(
    user: str,
    item: str,
    answer: Why,
    standing: Standing,
    snapshot: Snapshot,
    remembered: Remembered,
    published: Published,
    now: float,
) -> dict[str, Any]:
    """Return the answer as one JSON object."""
    learner = standing.line.learner
    because = {"kind": answer.kind, "weight": round(answer.weight, 3)} if answer.kind else None
    if because is not None and answer.cause >= 0:
        because["item"] = learner.catalog.ids[answer.cause]
    return {
        "user": user,
        "item": item,
        "checkpoint": {
            "line": snapshot.meta["line"],
            "step": learner.steps,
            "events": learner.events,
            "age_seconds": round(now - snapshot.created, 1),
        },
        "memory": {"partition": remembered.partition, "events": remembered.events, "ts": remembered.ts},
        "candidate": answer.rank > 0,
        "proposer": answer.proposer or None,
        "rank": answer.rank or None,
        "candidates": answer.candidates,
        "score": round(answer.score, 6),
        "place": answer.place or None,
        "list_length": learner.config.list_length,
        "rule": answer.rule or None,
        "because": because,
        "features": [{"name": part.feature, "value": part.value, "adds": part.adds} for part in answer.parts],
        "published": _listed(item, published, now),
    }


def _listed(item: str, published: Published, now: float) -> dict[str, Any]:
    found = published.found
    if found is None:
        return {"unread": published.unread}
    items = list(found.items)
    return {
        "age_seconds": round(now - published.timestamp, 1),
        "partition": found.partition,
        "offset": found.next_offset - 1,
        "line": found.line,
        "step": found.step,
        "place": items.index(item) + 1 if item in items else None,
    }


def _lines(told: dict[str, Any]) -> list[str]:
    """Return the answer in words for a person."""
    at, memory = told["checkpoint"], told["memory"]
    lines = [
        f"{told['item']} for {told['user']}: {_verdict(told)}",
        f"  by the checkpoint of {_ago(at['age_seconds'])} (line {at['line']}, step {at['step']:,}), and a memory of "
        f"{amount(memory['events'], 'event')}, the last one at {_when(memory['ts'])}",
    ]
    if told["candidate"]:
        lines.append(
            f"  rank {told['rank']} of {told['candidates']} candidates, score {told['score']:.4f}; "
            f"proposed by {told['proposer']}"
        )
    if (because := told["because"]) is not None:
        named = f" {because['item']}" if "item" in because else ""
        lines.append(f"  because: {because['kind']}{named}, {because['weight']:.0%} of what speaks for it")
    if told["features"]:
        lines.append("  what its features add to its score, against the user's mean candidate:")
        lines += [
            f"    {part['adds']:+7.3f}  {part['name']} = {part['value']:.3f}" for part in told["features"][:_PARTS]
        ]
    return [*lines, f"  {_published_line(told['published'])}"]


def _verdict(told: dict[str, Any]) -> str:
    if told["place"] is not None:
        return f"place {told['place']} of the list"
    if told["rule"] is not None:
        return f"not in the list: {told['rule']}"
    if not told["candidate"]:
        return "not in the list: nobody proposed it"
    return f"not in the list: rank {told['rank']} is behind its {told['list_length']} places"


def _published_line(published: dict[str, Any]) -> str:
    if "unread" in published:
        return f"the published list was not read: {published['unread']}"
    place = "is not in it" if published["place"] is None else f"has place {published['place']}"
    return (
        f"in the list published {_ago(published['age_seconds'])} ({published['partition']}:{published['offset']}, line "
        f"{published['line']}, step {published['step']:,}) it {place}"
    )


def _when(ts: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ts))


def _ago(seconds: float) -> str:
    """Return an age in words.

    >>> _ago(75.0), _ago(7_300.0)
    ('75 s ago', '2.0 h ago')
    """
    return f"{seconds:.0f} s ago" if seconds < 600 else f"{seconds / 3600:.1f} h ago"
