"""The elements that a record is about when it was mended and sent again: those that its header names, as "1,4".

A dead letter of some elements of a record has this header, so that the good elements are not counted again.
"""

from __future__ import annotations

import re
from typing import Any

from stream_worker.core.events import ELEMENTS_HEADER, Record

_NUMBERS = re.compile(rb"\d{1,6}(,\d{1,6})*")


def elements_asked(record: Record) -> tuple[int, ...] | None:
    """Return the elements that a record is about; None: all, also if the header is another program's."""
    for name, value in record.headers:
        if name == ELEMENTS_HEADER and _NUMBERS.fullmatch(value):
            return tuple(map(int, value.split(b",")))
    return None


def id_of_these(event_id: Any, asked: tuple[int, ...]) -> Any:
    """Return the id that stands for these elements: the record's own is among those of the user's last events already,
    so with it they would be duplicates."""
    return f"{event_id} {','.join(map(str, asked))}" if type(event_id) in (str, int) and event_id != "" else event_id
