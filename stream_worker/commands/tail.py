"""`stream-worker tail`: prints recommendations, or dead letters, as they are published."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import orjson

from stream_worker.backends.kafka import KafkaConfig, Published, messages, tail
from stream_worker.commands.dead_letters import letter_json, letter_line
from stream_worker.commands.options import settings_from
from stream_worker.core.events import Recommendation
from stream_worker.core.printable import printable

_PATIENT_SECONDS = 3.0  # without a list, after which the hint is printed (not tuned)
_ITEMS = 5  # items shown of a list where nothing else is asked for (not tuned)
_OLDER = "; --from-beginning also prints those that are there already"
# (user, or None where it is not known; a line for a person; the same as JSON)
_Shown = tuple[str | None, Callable[[], str], Callable[[], str]]


def command(
    config_path: Path | None,
    user: str | None,
    items: int | None,
    count: int | None,
    as_json: bool,
    from_beginning: bool,
    dead: bool,
) -> None:
    if dead and items is not None:
        raise click.UsageError("--items is about lists, and dead letters have none")
    kafka = settings_from(config_path).kafka
    hint = Hint(_waiting(kafka, user, dead) + ("" if from_beginning else _OLDER))
    found = _letters(kafka, from_beginning, hint) if dead else _lists(kafka, items or _ITEMS, from_beginning, hint)
    shown = 0
    try:
        for whose, as_text, as_object in found:
            if user is None or whose == user:
                hint.found = True
                print(as_object() if as_json else as_text(), flush=True)
                shown += 1
                if shown == count:
                    break
            else:
                hint.waits()
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _waiting(kafka: KafkaConfig, user: str | None, dead: bool) -> str:
    what, topic = ("a dead letter", kafka.dead_letter_topic) if dead else ("a list", kafka.output_topic)
    return f"waiting for {what}{'' if user is None else f' of {user!r}'} in {topic}"


def _lists(kafka: KafkaConfig, items: int, from_beginning: bool, hint: Hint) -> Iterator[_Shown]:
    for found, message in tail(kafka, from_beginning=from_beginning, on_idle=hint.waits):
        yield found.user, partial(line, found, items), partial(as_line, message.value or b"")


def _letters(kafka: KafkaConfig, from_beginning: bool, hint: Hint) -> Iterator[_Shown]:
    for letter in messages(kafka, kafka.dead_letter_topic, from_beginning=from_beginning, on_idle=hint.waits):
        yield _keyed_by(letter), partial(letter_line, letter), partial(_as_object, letter)


def _keyed_by(letter: Published) -> str | None:
    return None if letter.key is None else letter.key.decode("utf-8", "backslashreplace")


def _as_object(letter: Published) -> str:
    """Return the JSON of a dead letter: with the bytes of its value, but for a terminal."""
    value = letter_json(letter)
    return as_line(value) if sys.stdout.isatty() else value.decode()


class Hint:
    """A hint, printed once if nothing has come for a while, that tells what the command waits for."""

    def __init__(self, text: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.found = False
        self._text, self._monotonic, self._began = text, monotonic, monotonic()

    def waits(self) -> None:
        if not self.found and self._monotonic() - self._began > _PATIENT_SECONDS:
            self.found = True
            print(printable(self._text), file=sys.stderr, flush=True)


def as_line(value: bytes) -> str:
    """Return JSON in one line; for a terminal in ASCII, since it obeys some other characters."""
    return json.dumps(orjson.loads(value), ensure_ascii=sys.stdout.isatty(), separators=(",", ":"))


def line(recommendation: Recommendation, items: int) -> str:
    """Return one list for a person: time, user, events since the last list, items with scores, and its `as_of`."""
    r = recommendation
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(r.ts))
    shown = ", ".join(
        f"{item} {score:.0%}" for item, score in zip(list(r.items)[:items], list(r.scores)[:items], strict=True)
    )
    text = f"{when}  {r.user:<16}  +{r.events}  {shown or '(nothing yet)'}  [{r.partition}:{r.next_offset - 1}]"
    return printable(text)
