"""A moment in a topic, as a person writes it: an offset, a time, or a time ago."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stream_worker.core.event_times import timestamp_seconds

_OFFSET = re.compile(r"\d{1,18}", re.ASCII)
_AGO = re.compile(r"-(\d{1,9})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Moment:
    """The first record at or after an offset, or at or after a time; one of the two is given."""

    offset: int | None = None
    timestamp_ms: int | None = None


def moment(text: str, now_seconds: float) -> Moment:
    """Return the moment that a text means. Raises ValueError.

    >>> moment("1041", 0.0), moment("2026-11-29T00:00:00Z", 0.0).timestamp_ms
    (Moment(offset=1041, timestamp_ms=None), 1795910400000)
    >>> moment("-1h", 1_700_000_000.0).timestamp_ms
    1699996400000
    """
    if _OFFSET.fullmatch(text):
        return Moment(offset=int(text))
    if ago := _AGO.fullmatch(text):
        seconds: float | None = now_seconds - int(ago[1]) * _SECONDS[ago[2]]
    else:
        seconds = timestamp_seconds(text) if "-" in text.strip("-+") else None
    if seconds is None or seconds < 0:
        raise ValueError(f"must be an offset, a time such as 2026-11-29T08:00:00Z, or -1h (s, m, h, d), got {text!r}")
    return Moment(timestamp_ms=round(seconds * 1000))
