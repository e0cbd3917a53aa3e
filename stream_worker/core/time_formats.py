"""Stated forms of times (`events.ts_format`): a unit that numbers are forced to, or a format of Python's strptime.

Times that name no zone are UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from stream_worker.core.number_text import number_of, whole_text

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # unit -> how many of it are a second
_LONGEST_TEXT = 100  # characters of a time; strptime reads no longer one, so that its cost is bounded (not tuned)
_LARGEST_NUMBER = 1e20  # in any unit far beyond the newest time that is allowed
# In the afternoon, on a day that is no month's number: a format that leaves a part out, or swaps two, can't return it.
_PROBE = datetime(2019, 10, 23, 16, 45, 38, 123456, UTC)


def check_ts_format(text: str) -> None:
    """Raise ValueError if a stated form reads no whole date. Empty: no form is stated."""
    if not text or text in UNITS:
        return
    if "%Z" in text.replace("%%", ""):
        raise ValueError(
            f"must name the zone by %z, or as it stands there (UTC), since %Z differs between machines, got {text!r}"
        )
    if _reread(text) not in _truncations(_PROBE):
        raise ValueError(
            f"must be {', '.join(UNITS)} or a format of Python's strptime that holds a whole date, as in "
            f'"%d/%m/%Y %H:%M:%S", got {text!r}'
        )


def stated_seconds(value: Any, ts_format: str) -> float | None:
    """Return the epoch seconds of a time in the stated form; None for any value that is not in this form."""
    if ts_format in UNITS:
        return _in_unit(value, UNITS[ts_format])
    text = value if type(value) is str else whole_text(value)
    return None if text is None or len(text) > _LONGEST_TEXT else _moment_seconds(text.strip(" \t"), ts_format)


def utc_seconds(moment: datetime) -> float:
    """Return the epoch seconds of a moment, in UTC if it names no zone."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_unit(value: Any, per_second: float) -> float | None:
    number = number_of(value) if type(value) is str else value
    if (type(number) is not float and type(number) is not int) or not -_LARGEST_NUMBER < number < _LARGEST_NUMBER:
        return None
    return number / per_second


def _moment_seconds(text: str, ts_format: str) -> float | None:
    try:
        return utc_seconds(datetime.strptime(text, ts_format))
    except (ValueError, OverflowError):
        return None


def _reread(ts_format: str) -> datetime | None:
    """Return the probe as it was written and read by a format; None for a format that can't do both."""
    try:
        moment = datetime.strptime(_PROBE.strftime(ts_format), ts_format)
    except (ValueError, OverflowError, re.error):  # re.error: a part that stands twice
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _truncations(moment: datetime) -> list[datetime]:
    """Return a moment to the microsecond, second, minute, hour and day."""
    second = moment.replace(microsecond=0)
    minute, hour = second.replace(second=0), second.replace(second=0, minute=0)
    return [moment, second, minute, hour, hour - timedelta(hours=hour.hour)]
