"""Times in the forms that trackers and logs write.

The forms are epoch seconds, milliseconds or microseconds, as numbers or as digits; ISO 8601 (in UTC if it names no
zone, also with " UTC" at its end); and RFC 2822, whose day of the week is ignored.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from stream_worker.core.number_text import number_of
from stream_worker.core.reasons import refuse

OLDEST_SECONDS = 631_152_000.0  # 1990-01-01T00:00:00Z
DAY_SECONDS = 86_400.0
# From these magnitudes on a number is read in the next smaller unit. 1e11 is the year 5138 in seconds and 1973 in
# milliseconds, and so on, so that no valid time can be read in two units. Nanoseconds are refused, with a hint: they
# can't be told from .NET's ticks (100 ns since the year 1).
_MILLISECONDS_FROM, _MICROSECONDS_FROM, _NANOSECONDS_FROM = 1e11, 1e14, 1e17
_YEAR_2100_SECONDS = 4_102_444_800.0  # 2100-01-01T00:00:00Z
# datetime.fromisoformat alone accepts any character in place of the T, and more forms in each new version of Python.
_SECOND = r"\d\d([.,]\d+)?"
_ISO_8601 = re.compile(
    r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d-\d|\d{4}W\d{3})"
    rf"([T ]([01]\d|2[0-3])(:\d\d(:{_SECOND})?|\d\d({_SECOND})?)?(Z|[+-]\d\d(:?[0-5]\d)?)?)?",
    re.ASCII,
)
_EIGHT_DIGITS = re.compile(r"\d{8}", re.ASCII)  # a date
_RFC_2822 = re.compile(
    r"((Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d\d? (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}"
    r" ([01]\d|2[0-3]):\d\d(:\d\d)? (GMT|UTC|[+-]\d\d[0-5]\d)",
    re.ASCII,
)


def event_seconds(name: str, value: Any, broker_ms: int, newest: str) -> float:
    """Return the epoch seconds of an event's time, from 1990 to one day past the record's own time.

    `name`: the field, for the reason.
    `value`: the time as it came.
    `broker_ms`: the record's own time, epoch milliseconds.
    `newest`: words for the latest time that is allowed, for the reason.

    Raises InvalidEvent.
    """
    seconds = timestamp_seconds(value)
    if seconds is None:
        forms = "epoch seconds (or ms, us), ISO 8601 or RFC 2822"
        refuse("BadTimestamp", name, forms, value, _hint(value))
    if not OLDEST_SECONDS <= seconds <= broker_ms / 1000 + DAY_SECONDS:
        note = f" (which is {_iso(seconds)})" + _broker_note(broker_ms)
        refuse("BadTimestamp", name, f"a time from 1990-01-01 to {newest}", value, note)
    return seconds


def timestamp_seconds(value: Any) -> float | None:
    """Return the epoch seconds of a time in any of the forms; None for any other value."""
    if type(value) is float or type(value) is int:
        return float(value) if -_MILLISECONDS_FROM < value < _MILLISECONDS_FROM else _scaled(value)
    if type(value) is not str:
        return None
    if not _ISO_8601.fullmatch(value):
        return _text_seconds(value.strip(" \t"))
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _scaled(value: float) -> float | None:
    if abs(value) < _MICROSECONDS_FROM:
        return value / 1000
    return value / 1e6 if abs(value) < _NANOSECONDS_FROM else None


def _text_seconds(text: str) -> float | None:
    number = number_of(text)
    if number is not None and not _EIGHT_DIGITS.fullmatch(text):
        return timestamp_seconds(number)
    if _RFC_2822.fullmatch(text):
        return _rfc_seconds(text)
    iso = text.removesuffix(" UTC") + "Z" if text.endswith(" UTC") else text
    return timestamp_seconds(iso) if _ISO_8601.fullmatch(iso) else None


def _rfc_seconds(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _hint(value: Any) -> str:
    number = number_of(value) if isinstance(value, str) else value
    if isinstance(number, float | int) and OLDEST_SECONDS <= number / 1e9 < _YEAR_2100_SECONDS:
        return " (looks like nanoseconds)"
    return ""


def _broker_note(broker_ms: int) -> str:
    """Return a note if the record's own time is before 1990: its producer sets seconds instead of milliseconds."""
    return f"; the record's own time is {_iso(broker_ms / 1000)}" if 0 < broker_ms < OLDEST_SECONDS * 1000 else ""


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "no date"
