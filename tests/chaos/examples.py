"""Hostile records that Hypothesis thinks up: any bytes, any JSON, and above all events of which little is wrong.

Not all of them are bad; `event_rule` says which are events.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.chaos.mutations import NOW, Hostile

_TEXTS = st.text(max_size=20)  # with lone surrogates and null characters
_LONG = st.builds(lambda part, size: (part * size)[:size], st.text(min_size=1, max_size=3), st.integers(60, 300))
_LIMITS = st.sampled_from([-1, 0, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**308, 10**400])
_SCALARS = st.none() | st.booleans() | st.integers() | _LIMITS | st.floats() | _TEXTS
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=5
)
_IDS = st.sampled_from(["u1", "u2", "i3", "ü", 4, 5])
_BAD_IDS = _TEXTS | _LONG | _LIMITS | _JSON
_TYPES = st.sampled_from(["view", "click", "cart", "purchase", "rating"])
_TIMES = st.integers(NOW - 10**8, NOW) | st.integers(NOW - 10**8, NOW).map(lambda seconds: seconds * 1000 + 1)
_DATES = st.sampled_from(["2014-05-13", "20140513", "2014-W20-2", "2014W202", "2014-02-30", "0001-01-01", "2014-05"])
_HOURS = st.sampled_from(
    ["", "T16", "T16:53:20", " 16:53", "T165320.123456789", "x16:53", "T24:00", "T16:53:60", "\x0016"]
)
_ZONES = st.sampled_from(["", "", "Z", "z", " Z", "+02:00", "-0230", "+23:59", "+24:00", "+02:00:30.5"])
_ISO = st.builds("{}{}{}".format, _DATES, _HOURS, _ZONES) | st.datetimes().map(lambda moment: moment.isoformat())
_EDGES = st.sampled_from([0, -1, 631_151_999, 631_152_000, NOW + 86_400, NOW + 86_401, NOW * 1_000_000, 10**11, 1e300])
_VALUES = st.none() | st.integers(-5, 5) | st.floats(-1e6, 1e6)
_BAD_VALUES = st.floats() | st.sampled_from([3.4028234e38, 3.4028236e38, "5", True]) | _JSON
_FIELDS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {  # as it should be, and spoiled
    "user": (_IDS, _BAD_IDS),
    "item": (_IDS, _BAD_IDS),
    "type": (_TYPES, st.sampled_from(["View", "steal", "view ", ""]) | _JSON),
    "ts": (_TIMES | st.just("2014-05-13T16:53:20Z"), _ISO | _EDGES | _JSON),
    "value": (_VALUES, _BAD_VALUES),
    "request_id": (_IDS, _BAD_IDS),
    "session": (_TEXTS, _JSON),
    "extra": (_SCALARS, _JSON),
}
_NEEDED, _MORE = ("user", "item", "type", "ts"), ("value", "request_id", "session", "extra")
_FIELD_SETS = [_NEEDED] * 5 + [(*_NEEDED, name) for name in _MORE] + [_NEEDED[:k] + _NEEDED[k + 1 :] for k in range(4)]
_SPELLINGS = [(True, ":", ",", False), (False, ": ", ", ", True), (False, "\t:\r", "\n,\n", False)]
_NESTED = ["[" * depth + "]" * depth for depth in (10, 1_023, 1_024, 5_000)] + ["[" * 30_000]
_ADDED = st.sampled_from(
    [[]] * 20 + [[("user", '"u2"')], [("ts", "null")], [("a\0b", "1")], [("a", "0"), ("a", "1")], [("\ud800", "1")]]
    + [[("nested", json)] for json in _NESTED]
)  # fmt: skip
_WRAPPED = st.sampled_from(
    ["{}"] * 30 + ["[{}]", "{}{}", " \n{}\t", "{}\0", "\ufeff{}", "/**/{}", "callback({})", "{},", "{", "}"]
)
_ENCODINGS = st.sampled_from(["utf-8"] * 20 + ["utf-16", "utf-8-sig", "utf-32-be"])
_KEYS = st.none() | st.binary(max_size=20) | st.sampled_from([b"u1", b"", b"\0", b"\xff" * 1000])
_MOMENTS = st.sampled_from([NOW * 1000] * 10 + [1, 631_151_000_000, NOW * 1000 - 10**11])


@st.composite
def near_events(draw: st.DrawFn) -> bytes:
    """An event of which up to two fields are spoiled, one is missing, doubled or added, in some spelling of JSON."""
    spoiled = draw(st.lists(st.sampled_from(list(_FIELDS)), max_size=2))
    wanted = {*spoiled, *draw(st.sampled_from(_FIELD_SETS))}
    names = [name for name in _FIELDS if name in wanted]
    ascii_only, colon, comma, backwards = draw(st.sampled_from(_SPELLINGS))
    pairs = [(name, json.dumps(draw(_FIELDS[name][name in spoiled]), ensure_ascii=ascii_only)) for name in names]
    pairs += draw(_ADDED)
    body = comma.join(f"{json.dumps(name)}{colon}{value}" for name, value in sorted(pairs, reverse=backwards))
    return draw(_WRAPPED).replace("{}", "{" + body + "}").encode(draw(_ENCODINGS), "surrogatepass")


_DOCUMENTS = _JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
_NEAR = near_events()
_ANYTHING = st.none() | st.binary(max_size=200) | _DOCUMENTS
_VALUES_OR_NONE = st.booleans().flatmap(lambda near: _NEAR if near else _ANYTHING)
_RECORDS = st.builds(Hostile, _KEYS, _VALUES_OR_NONE, _MOMENTS)


def thought_up(count: int, number: int) -> list[Hostile]:
    """`count` examples of Hypothesis; the same ones for the same seed `number`."""
    found: list[Hostile] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_RECORDS)
    def collect(record: Hostile) -> None:
        found.append(record)

    collect()
    return found
