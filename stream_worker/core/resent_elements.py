"""The elements that a record is about when it was mended and sent again: those that its header names, as "1,4".

A dead letter of some elements of a record has this header, so that the good elements are not counted again.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from stream_worker.core.events import ELEMENTS_HEADER, Record
from stream_worker.core.number_text import whole_text

_NUMBERS = re.compile(rb"\d{1,6}(,\d{1,6})*")
_MOST_BYTES = 70_000  # of a header: 10,000 elements (`events.most_each`) of up to five digits


def elements_asked(record: Record) -> frozenset[int] | None:
    """Return the elements that a record is about; None: all, also if the header is another program's."""
    for name, value in record.headers:
        if name == ELEMENTS_HEADER and len(value) <= _MOST_BYTES and _NUMBERS.fullmatch(value):
            return frozenset(map(int, value.split(b",")))
    return None


def id_of_these(event_id: Any, asked: frozenset[int]) -> Any:
    """Return the id that stands for these elements: the record's own is among those of the user's last events already,
    so with it they would be duplicates. An id that can't be read stays as it is."""
    text = event_id if type(event_id) is str else whole_text(event_id)
    if not text:
        return event_id
    these = ",".join(map(str, sorted(asked)))
    return hashlib.blake2b(f"{text} {these}".encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
