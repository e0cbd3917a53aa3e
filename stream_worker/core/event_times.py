"""Times in the forms that trackers and logs write.

The forms are epoch seconds, milliseconds, microseconds or nanoseconds, as numbers or as digits; ISO 8601 (in UTC if it
names no zone, also with " UTC" at its end); RFC 2822, whose day of the week is ignored; and Python's date and time, as
typed formats have it. A form that is stated (`time_formats`) takes the place of all of these.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from stream_worker.core.number_text import number_of
from stream_worker.core.reasons import refuse
from stream_worker.core.time_formats import UNITS, stated_seconds, utc_seconds

OLDEST_SECONDS = 631_152_000.0  # 1990-01-01T00:00:00Z
DAY_SECONDS = 86_400.0
# From these magnitudes on a number is read in the next smaller unit. 1e11 is the year 5138 in seconds and 1973 in
# milliseconds, and so on, so that no valid time can be read in two units. .NET's ticks (100 ns since the year 1) of the
# years 1990 to 2100 lie from 6.28e17 to 6.63e17, as nanoseconds 1989 and 1990: so nanoseconds begin in March 1991.
_MILLISECONDS_FROM, _MICROSECONDS_FROM, _TICKS_FROM, _NANOSECONDS_FROM = 1e11, 1e14, 1e17, 6.7e17
SECONDS_BELOW = _MILLISECONDS_FROM  # numbers from 1990 to here are seconds
_LARGEST_NUMBER = 1e20  # the year 5138 in nanoseconds
_OLDEST_TICKS = 6.2e17
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


def event_seconds(name: str, value: Any, broker_ms: int, newest: str, ts_format: str = "") -> float:
    """Return the epoch seconds of an event's time, from 1990 to one day past the record's own time.

    `name`: the field, for the reason.
    `value`: the time as it came.
    `broker_ms`: the record's own time, epoch milliseconds.
    `newest`: words for the latest time that is allowed, for the reason.
    `ts_format`: the stated form; empty: any of the known ones.

    Raises InvalidEvent.
    """
    seconds = seconds_in(value, ts_format) if ts_format else timestamp_seconds(value)
    if seconds is None:
        refuse("BadTimestamp", name, _expected(ts_format), value, _hint(value))
    if not OLDEST_SECONDS <= seconds <= broker_ms / 1000 + DAY_SECONDS:
        note = f" (which is {_iso(seconds)})" + _broker_note(broker_ms)
        refuse("BadTimestamp", name, f"a time from 1990-01-01 to {newest}", value, note)
    return seconds


def seconds_in(value: Any, ts_format: str = "") -> float | None:
    """Return the epoch seconds of a time in the stated form, or in any of the known ones; None for any other value.

    `ts_format`: a unit ("s", "ms", "us", "ns") or a format of Python's strptime; empty: any known form. Python's date
    and time is no text or number and needs no format.
    """
    if ts_format and not isinstance(value, datetime):
        return stated_seconds(value, ts_format)
    return timestamp_seconds(value)


def timestamp_seconds(value: Any) -> float | None:
    """Return the epoch seconds of a time in any of the known forms; None for any other value."""
    if type(value) is float or type(value) is int:
        return float(value) if -_MILLISECONDS_FROM < value < _MILLISECONDS_FROM else _scaled(value)
    if type(value) is str:
        return _iso_seconds(value) if _ISO_8601.fullmatch(value) else _text_seconds(value.strip(" \t"))
    return utc_seconds(value) if isinstance(value, datetime) else None


def _scaled(value: float) -> float | None:
    if abs(value) < _MICROSECONDS_FROM:
        return value / 1000
    if abs(value) < _TICKS_FROM:
        return value / 1e6
    return value / 1e9 if _NANOSECONDS_FROM <= value < _LARGEST_NUMBER else None


def _text_seconds(text: str) -> float | None:
    number = number_of(text)
    if number is not None and not _EIGHT_DIGITS.fullmatch(text):
        return timestamp_seconds(number)
    if _RFC_2822.fullmatch(text):
        return _rfc_seconds(text)
    iso = text.removesuffix(" UTC") + "Z" if text.endswith(" UTC") else text
    return _iso_seconds(iso) if _ISO_8601.fullmatch(iso) else None


def _iso_seconds(text: str) -> float | None:
    try:
        return utc_seconds(datetime.fromisoformat(text))
    except ValueError:
        return None


def _rfc_seconds(text: str) -> float | None:
    try:
        return utc_seconds(parsedate_to_datetime(text))
    except (ValueError, OverflowError):
        return None


def _expected(ts_format: str) -> str:
    if ts_format in UNITS:
        return f"a number ({ts_format} since 1970)"
    return f"a time as in {ts_format}" if ts_format else "epoch seconds (or ms, us, ns), ISO 8601 or RFC 2822"


def _hint(value: Any) -> str:
    number = number_of(value) if isinstance(value, str) else value
    if isinstance(number, float | int) and _OLDEST_TICKS <= number < _NANOSECONDS_FROM:
        return " (looks like .NET ticks, which are not read)"
    return ""


def _broker_note(broker_ms: int) -> str:
    """Return a note if the record's own time is before 1990: its producer sets seconds instead of milliseconds."""
    return f"; the record's own time is {_iso(broker_ms / 1000)}" if 0 < broker_ms < OLDEST_SECONDS * 1000 else ""


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "no date"
