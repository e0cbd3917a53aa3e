"""Chooses the paths of an event's parts among those of some documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stream_worker.core.guessing.names import is_before_login, is_old_id, name_score
from stream_worker.core.guessing.shapes import Shapes, Values

_LEAST_SCORE = 3  # of a name, to be taken at all (not tuned)
_NEXT_SCORE = 4  # of a name that comes after another one for what this one lacks (not tuned)
_SURE_NAME = 8  # score of a name that means one thing only (not tuned)
_MOST = 0.5  # share of the documents that a path told by its values has to be in (not tuned)
_LEAST_ADDED = 0.005  # share of the documents that a further path has to add (not tuned)
_MOST_PATHS = 3
_MOST_TYPES = 60  # different values of a type (not tuned)
_SURE, _SURE_TIME = 0.95, 0.9  # share of the values that have to be of the right kind (not tuned)

_Test = Callable[[Values], bool]


def _is_id(values: Values) -> bool:
    sure = values.share("text", "whole", "whole in text") >= _SURE
    return sure and not _is_date(values) and all(len(text) <= 256 for text in list(values.distinct)[:100])


def _is_user(values: Values) -> bool:
    """Return True for ids, also such as 1026454.1772 of Google's cookies."""
    return _is_id(values) or (values.share("fraction in text") >= _SURE and len(values.distinct) > 1)


def _is_date(values: Values) -> bool:
    return values.units["text"] >= _SURE * values.count


def _is_type(values: Values) -> bool:
    sure = name_score("type", values) >= _SURE_NAME
    few = len(values.distinct) <= (_MOST_TYPES if sure else max(2, min(_MOST_TYPES, values.count // 2)))
    return few and values.share("text", "whole", "whole in text") >= _SURE and not _is_date(values)


def _is_time(values: Values) -> bool:
    return values.kinds["time"] >= _SURE_TIME * values.count


def _is_number(values: Values) -> bool:
    return values.share("whole", "fraction", "whole in text", "fraction in text") >= _SURE


def _is_own(values: Values) -> bool:
    """Return True for values that hardly ever come twice; where the name is not that of an id, never."""
    least = _SURE if name_score("id", values) >= _SURE_NAME else 1.0
    return not values.each and len(values.distinct) >= least * values.count and _is_id(values)


_TESTS: dict[str, _Test] = {
    "user": _is_user, "item": _is_id, "type": _is_type, "ts": _is_time, "value": _is_number, "id": _is_own,
    "session": _is_id, "category": _is_id,
}  # fmt: skip


def candidates(part: str, shapes: Shapes) -> list[Values]:
    """Return the paths that may hold a part, the likeliest first."""
    found = [(score, v) for v in shapes if (score := name_score(part, v)) >= 2 and _TESTS[part](v)]
    ranked = sorted(found, key=lambda pair: (-pair[0] - 2 * _coverage(pair[1], shapes), len(pair[1].names)))
    return [values for score, values in ranked if score >= _LEAST_SCORE] or [values for _, values in ranked]


def _coverage(values: Values, shapes: Shapes) -> float:
    return len(values.documents) / max(1, shapes.count)


def first_of(part: str, found: Iterable[Values], shapes: Shapes) -> list[Values]:
    """Return the likeliest path, and those after it that hold the part in documents without it."""
    chosen: list[Values] = []
    covered: set[int] = set()
    for values in found:
        added = len(values.documents - covered)
        if not chosen or (name_score(part, values) >= _NEXT_SCORE and added > _LEAST_ADDED * shapes.count):
            chosen.append(values)
            covered |= values.documents
        if len(chosen) == _MOST_PATHS:
            break
    return chosen


def items(shapes: Shapes) -> tuple[list[str], list[Values]]:
    """Return the arrays whose elements are events, and the paths of the item: in these elements, then elsewhere."""
    found = candidates("item", shapes)
    outside = first_of("item", [v for v in found if not v.each], shapes)
    covered = set().union(*(v.documents for v in outside))
    arrays: list[str] = []
    inside: list[Values] = []
    for values in [v for v in found if v.each and name_score("item", v) >= _NEXT_SCORE]:
        if values.each in arrays or len(values.documents - covered) > _LEAST_ADDED * shapes.count:
            arrays += [] if values.each in arrays else [values.each]
            inside += [] if any(v.path == values.path for v in inside) else [values]
            covered |= values.documents
    weak = outside and name_score("item", outside[0]) < _NEXT_SCORE
    return arrays, inside[:_MOST_PATHS] + ([] if inside and weak else outside)


def place(part: str, shapes: Shapes, arrays: list[str], taken: set[tuple[str, str]]) -> list[Values]:
    """Return the paths of a part other than the item, none if nothing looks like it.

    arrays: those whose elements are events. taken: (array, path) of other parts.
    """
    found = candidates(part, shapes)
    free = [v for v in found if v.each in ("", *arrays) and (v.each, v.path) not in taken]
    return first_of(part, free, shapes)


def users(shapes: Shapes, arrays: list[str], taken: set[tuple[str, str]]) -> list[Values]:
    """Return the paths of the user: as `place` does, and last an id that visitors have before they log in, also where
    each of these documents has another one."""
    found = place("user", shapes, arrays, taken)
    if found and len(found) < _MOST_PATHS and not any(map(is_before_login, found)):
        found += [v for v in candidates("user", shapes) if not v.each and is_before_login(v)][:1]
    return found


def old_ids(shapes: Shapes, user: list[Values]) -> list[Values]:
    """Return the paths outside of arrays of the id that a user had before a login, the likeliest first."""
    return [v for v in shapes if not v.each and is_old_id(v) and _is_user(v)][:1] + list(
        filter(is_before_login, user[1:])
    )


def beside(part: str, shapes: Shapes, items: list[Values], taken: set[tuple[str, str]]) -> list[Values]:
    """Return the paths of a part that stands beside an item, or outermost, and is called the same everywhere."""
    near = [(v.each, v.names[:-1]) for v in items] + [("", ())]
    found = [v for v in candidates(part, shapes) if (v.each, v.names[:-1]) in near and (v.each, v.path) not in taken]
    return first_of(part, [v for v in found if v.names[-1] == found[0].names[-1]], shapes)


def time_by_values(shapes: Shapes) -> Values | None:
    """Return the path outside of arrays that holds dates in most documents, whatever its name is."""
    dates = [v for v in shapes if not v.each and _is_time(v) and _is_date(v) and _coverage(v, shapes) > _MOST]
    return max(dates, key=lambda v: (_coverage(v, shapes), len(v.distinct), -len(v.names)), default=None)


def by_values(shapes: Shapes, taken: set[tuple[str, str]]) -> Values | None:
    """Return the path outside of arrays whose values look most like ids that come again, whatever its name is."""
    free = [v for v in shapes if not v.each and (v.each, v.path) not in taken]
    found = [v for v in free if _is_id(v) and not _is_time(v) and not any(name_score(part, v) for part in _TESTS)]
    several = [v for v in found if 1 < len(v.distinct) < v.count and _coverage(v, shapes) > _MOST]
    return max(several, key=lambda v: (_coverage(v, shapes), len(v.distinct)), default=None)
