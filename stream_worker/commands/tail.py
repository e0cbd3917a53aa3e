"""`stream-worker tail`: recommendations as they come."""

from __future__ import annotations

import time
from pathlib import Path

from stream_worker.backends.kafka import tail
from stream_worker.commands.options import settings_from
from stream_worker.core.events import Recommendation


def command(config_path: Path | None, user: str | None, items: int, count: int | None, from_beginning: bool) -> None:
    kafka = settings_from(config_path).kafka
    shown = 0
    try:
        for recommendation in tail(kafka, from_beginning=from_beginning):
            if user is None or recommendation.user == user:
                print(line(recommendation, items), flush=True)
                shown += 1
                if shown == count:
                    break
    except KeyboardInterrupt:
        print()


def line(recommendation: Recommendation, items: int) -> str:
    """One list for a person: when, who, after how many events, and what."""
    r = recommendation
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(r.ts))
    shown = ", ".join(
        f"{item} {score:.0%}" for item, score in zip(list(r.items)[:items], list(r.scores)[:items], strict=True)
    )
    return f"{when}  {r.user:<16}  +{r.events}  {shown or '(nothing yet)'}  [{r.partition}:{r.next_offset - 1}]"
