"""Finds the parts of the events of a record, by `[events]`; it judges none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.mapping.conditions import condition
from stream_worker.core.mapping.config import PARTS, EventsConfig
from stream_worker.core.mapping.sources import fields_read, is_of_the_record, is_relative, source
from stream_worker.core.reasons import shown

# (document, element): what the paths of one event start from.
Scope = tuple[Any, Any]
NO_ELEMENT = None
_OWN = ("item", "value", "category")
_SHARED = tuple(part for part in PARTS if part not in _OWN)


class Mapper:
    """The paths of a configuration, compiled.

    plain: the field of each part in the order of `PARTS`, None for a part that is not read, if all are fields of the
        outermost object and nothing else is asked for; None: use `scopes` and `values`.
    fields: outermost fields of a document that are read; an empty name stands for all.
    timed: True if each element of `each` has a time of its own, so that their order counts.
    most: most events of a record.
    shares: True if the elements of a record differ at most in item, value and category; see `own_values`.
    """

    def __init__(self, config: EventsConfig) -> None:
        texts = [config.sources(part) for part in PARTS]
        self._reads = [source(paths) for paths in texts]
        self._read_parts = [(part, read) for part, read, paths in zip(PARTS, self._reads, texts, strict=True) if paths]
        self._alias = source(config.sources("alias"))
        self._each = [source((text,)) for text in config.sources("each")]
        self._tests = [(source((name,)), condition(name, text)) for name, text in config.keep.items()]
        self.most = config.most_each
        every = [*texts, config.sources("each"), config.sources("alias"), tuple(config.keep)]
        self.fields = frozenset().union(*map(fields_read, every))
        self.timed = any(map(is_relative, config.sources("ts")))
        self.shares = not any(is_relative(text) for part in _SHARED for text in config.sources(part))
        self._own = tuple(self._reads[PARTS.index(part)] for part in _OWN)
        self.names = tuple(" or ".join(paths) for paths in texts)
        self.plain = _plain(texts) if not (self._each or self._tests) else None

    def kept(self, document: Any, record: Record) -> bool:
        """Return True if the record meets all conditions of `keep`."""
        if not self._tests:
            return True
        return all(test(read(document, NO_ELEMENT, record)) for read, test in self._tests)

    def scopes(self, document: Any, record: Record) -> list[Scope]:
        """Return where the paths of each event of a record start.

        document: an object, or an array of objects.

        Raises InvalidEvent for more than `most` elements, and for an `each` that is no array.
        """
        if isinstance(document, list):
            scopes = [scope for one in document for scope in self._of_one(one, record)]
        else:
            scopes = self._elements(document, record)
        if len(scopes) > self.most:
            raise InvalidEvent("TooManyElements", f"expected at most {self.most} elements, got {len(scopes)}")
        return scopes

    def _of_one(self, one: Any, record: Record) -> list[Scope]:
        return self._elements(one, record) if type(one) is dict else [(one, NO_ELEMENT)]

    def _elements(self, document: Any, record: Record) -> list[Scope]:
        for read in self._each:
            found = read(document, NO_ELEMENT, record)
            if isinstance(found, list):
                return [(document, element) for element in found]
            if isinstance(found, dict):
                return [(document, found)]
            if found is not None and found != "":
                raise InvalidEvent("WrongType", f"each: expected an array, got {shown(found)}")
        return [(document, NO_ELEMENT)]

    def values(self, scope: Scope, record: Record) -> dict[str, Any]:
        """Return the values of the parts of one event that are read, by part; None: it is not there."""
        document, element = scope
        return {part: read(document, element, record) for part, read in self._read_parts}

    def own_values(self, scope: Scope, record: Record) -> tuple[Any, Any, Any]:
        """Return item, value and category of an element; None: it is not there."""
        item, value, category = self._own
        document, element = scope
        return item(document, element, record), value(document, element, record), category(document, element, record)

    def user_before(self, scope: Scope, record: Record) -> Any:
        """Return the id that the user had before, in a record that is an alias."""
        return self._alias(*scope, record)


def _plain(texts: Sequence[Sequence[str]]) -> tuple[str | None, ...] | None:
    if all(len(paths) < 2 and all(map(_is_plain, paths)) for paths in texts):
        return tuple(paths[0] if paths else None for paths in texts)
    return None


def _is_plain(text: str) -> bool:
    return not (set(text) & set('.[]"*$') or is_of_the_record(text))
