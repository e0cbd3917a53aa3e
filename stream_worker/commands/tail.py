"""`stream-worker tail`: prints recommendations as they are published."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from stream_worker.backends.kafka import tail
from stream_worker.commands.options import settings_from
from stream_worker.core.events import Recommendation
from stream_worker.core.printable import printable

_PATIENT_SECONDS = 3.0  # without a list, after which the hint is printed (not tuned)


def command(
    config_path: Path | None,
    user: str | None,
    items: int,
    count: int | None,
    as_json: bool,
    from_beginning: bool,
) -> None:
    kafka = settings_from(config_path).kafka
    whose = "a list" if user is None else f"a list of {user!r}"
    hint = Hint(f"waiting for {whose} in {kafka.output_topic}" + ("" if from_beginning else _OLDER))
    shown = 0
    try:
        for recommendation, message in tail(kafka, from_beginning=from_beginning, on_idle=hint.waits):
            if user is None or recommendation.user == user:
                hint.found = True
                print(as_line(message.value or b"") if as_json else line(recommendation, items), flush=True)
                shown += 1
                if shown == count:
                    break
            else:
                hint.waits()
    except KeyboardInterrupt:
        print(file=sys.stderr)


_OLDER = "; --from-beginning also prints those that are there already"


class Hint:
    """A hint, printed once if no list has come for a while, that tells what the command waits for."""

    def __init__(self, text: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.found = False
        self._text, self._monotonic, self._began = text, monotonic, monotonic()

    def waits(self) -> None:
        if not self.found and self._monotonic() - self._began > _PATIENT_SECONDS:
            self.found = True
            print(printable(self._text), file=sys.stderr, flush=True)


def as_line(value: bytes) -> str:
    """Return the JSON of a list in one line; for a terminal in ASCII, since it obeys some other characters."""
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
