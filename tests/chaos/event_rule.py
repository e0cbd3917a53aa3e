"""Contract 1's rule of what an event is, stated a second time from its text: plain Python, slow, none of the program's
own code. What the fuzzer's records should become is told by this alone.

Where the contract leaves it open, this is what it is taken to mean:
- JSON is I-JSON (RFC 7493): UTF-8, after at most one byte order mark, without lone surrogates, numbers that 64 bits
  hold; and at most 1,024 levels deep. It may be packed with gzip, once. No key that is read stands twice in an object.
- An array with an object in it holds an event an element, at most 256, in the order of their times.
- An integer beyond 64 bits is a number, but no id; a whole number that a float holds exactly is an integer. A field
  that is null is not there.
- `ts` as ISO 8601: a calendar or week date to the day, alone or with a time after "T" or a space, in UTC unless it has
  a zone, which may also be " UTC"; as RFC 2822 with a numeric zone, GMT or UTC; a number also as text.
- What stands in `value`, `session`, `request_id` and all other fields decides nothing.
- A number is a time in nanoseconds from 6.7e17 on.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, NoReturn

TYPES = ("view", "click", "cart", "purchase", "rating")
DEEPEST = 1_024
_READ = ("user", "item", "type", "ts", "value", "session", "request_id")
_MOST_ELEMENTS, _MOST_UNPACKED, _LEAST_NANOSECONDS = 256, 16 << 20, 6.7e17
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_DAY_SECONDS = 86_400
_DAY = r"(?:(?P<month>\d\d)(?P=dash)(?P<day>\d\d)|W(?P<week>\d\d)(?P=dash)(?P<weekday>\d))"
_DATE = rf"(?P<year>\d{{4}})(?P<dash>-?){_DAY}"
_SECOND = r"(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?"
_TIME = rf"(?P<hour>\d\d)(?:(?P<colon>:?)(?P<minute>\d\d)(?:(?P=colon){_SECOND})?)?"
_ZONE = r"(?:Z|(?P<sign>[+-])(?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?)?"
_ISO = re.compile(rf"{_DATE}(?:[T ]{_TIME}{_ZONE})?", re.ASCII)
_RFC = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?(?P<day>\d\d?) (?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    r"(?P<year>\d{4}) (?P<clock>\d\d:\d\d(?::\d\d)?) (?P<zone>GMT|UTC|[+-]\d{4})",
    re.ASCII,
)


class Event(NamedTuple):
    user: str
    item: str


class NoEvent(Exception):  # noqa: N818
    """The record belongs into the dead letters."""


def events_of(value: bytes | None, broker_ms: int) -> tuple[list[Event], bool]:
    """The events that a record holds, in their order, and whether it is a dead letter, too."""
    try:
        parsed = _parsed(value)
    except NoEvent:
        return [], True
    if isinstance(parsed, _Object):
        one = _event(parsed, broker_ms, _READ)
        return ([one[1]], False) if one else ([], True)
    if len(parsed) > _MOST_ELEMENTS or not any(isinstance(element, _Object) for element in parsed):
        return [], True
    found = [_event(element, broker_ms, ()) if isinstance(element, _Object) else None for element in parsed]
    timed = [one for one in found if one is not None]
    return [event for _, event in sorted(timed, key=lambda one: one[0])], len(timed) < len(found)


def _event(pairs: _Object, broker_ms: int, once: tuple[str, ...]) -> tuple[float, Event] | None:
    """The time and the event of an object; None: it is none. `once`: keys that may not stand twice."""
    try:
        names = [name for name, _ in pairs]
        _check(all(names.count(name) < 2 for name in once))
        fields = dict(pairs)
        event = Event(_id(fields.get("user")), _id(fields.get("item")))
        _check(fields.get("type") in TYPES)
        return _time(fields.get("ts"), broker_ms / 1000 + _DAY_SECONDS), event
    except NoEvent:
        return None


def _check(holds: bool) -> None:
    if not holds:
        raise NoEvent


class _Object(list[tuple[str, Any]]):
    """The pairs of a JSON object, as they stand there."""


def _parsed(value: bytes | None) -> Any:
    """The object or array in the bytes of a record."""
    value = _unpacked(value or b"")
    try:
        sys.setrecursionlimit(2 * DEEPEST)
        parsed = json.loads(value.decode().removeprefix("\ufeff"), **_I_JSON)
        json.dumps(parsed, ensure_ascii=False).encode()  # lone surrogates have no UTF-8
    except (ValueError, RecursionError):
        raise NoEvent from None
    _check(isinstance(parsed, list) and _depth(parsed) <= DEEPEST)
    return parsed


def _unpacked(value: bytes) -> bytes:
    if not value.startswith(b"\x1f\x8b"):
        return value
    unpacking = zlib.decompressobj(wbits=31)
    try:
        text = unpacking.decompress(value, _MOST_UNPACKED + 1)
    except zlib.error:
        raise NoEvent from None
    _check(unpacking.eof and not unpacking.unused_data and len(text) <= _MOST_UNPACKED)
    return text


def _integer(text: str) -> int | float:
    whole = int(text) if len(text) < 25 else 1 << 99
    return whole if -(2**63) <= whole < 2**64 else _number(text)


def _number(text: str) -> float:
    if abs(number := float(text)) == float("inf"):
        raise ValueError
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError


_I_JSON: dict[str, Any] = {
    "object_pairs_hook": _Object,
    "parse_int": _integer,
    "parse_float": _number,
    "parse_constant": _constant,
}


def _depth(parsed: Any) -> int:
    depth, level = 0, [parsed]
    while level := [part for part in level if isinstance(part, list)]:
        depth += 1
        level = [one[1] if isinstance(part, _Object) else one for part in level for one in part]
    return depth


def _id(value: Any) -> str:
    if type(value) is int or (type(value) is float and value == value // 1 and abs(value) < 2**53):
        return str(int(value))
    _check(type(value) is str and 1 <= len(value.encode()) <= 256)
    return str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _time(ts: Any, newest: float) -> float:
    if type(ts) is str and not _ISO.fullmatch(ts):
        ts = _other_time(ts.strip(" \t"))
    if _is_number(ts):
        units = (1, 1_000, 1_000_000, *([1_000_000_000] if ts >= _LEAST_NANOSECONDS else []))
        seconds = next((ts / unit for unit in units if _OLDEST <= ts / unit <= newest), None)
    else:
        _check(type(ts) is str)
        seconds = _iso_seconds(ts)
    _check(seconds is not None and _OLDEST <= seconds <= newest)
    return float(seconds or 0)


def _other_time(text: str) -> str | float:
    """Numbers, and RFC 2822, as what has been told already."""
    if re.fullmatch(r"\d{8}", text, re.ASCII):
        return text
    if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return float(text)
    if match := _RFC.fullmatch(text):
        month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(match["month"]) // 3 + 1
        zone = "+0000" if match["zone"] in ("GMT", "UTC") else match["zone"]
        day = f"{match['year']}-{month:02}-{int(match['day']):02}"
        return f"{day}T{match['clock']}{zone[:3]}:{zone[3:]}"
    return re.sub(r" UTC$", "Z", text)


def _iso_seconds(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None:
        raise NoEvent
    part = {name: int(digits) for name, digits in match.groupdict("0").items() if digits.isdecimal()}
    try:
        if match["week"]:
            day = date.fromisocalendar(part["year"], part["week"], part["weekday"])
        else:
            day = date(part["year"], part["month"], part["day"])
        moment = datetime(day.year, day.month, day.day, part["hour"], part["minute"], part["second"], tzinfo=UTC)
        _check(part["zone_hour"] < 24 and part["zone_minute"] < 60)
    except ValueError:
        raise NoEvent from None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() + float(f"0.{match['fraction'] or 0}")
    zone = timedelta(hours=part["zone_hour"], minutes=part["zone_minute"]).total_seconds()
    return seconds + zone if match["sign"] == "-" else seconds - zone
