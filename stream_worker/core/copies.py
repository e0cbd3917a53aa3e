"""Copies of arrays into the memory of earlier copies.

The system gives fresh memory page by page, which takes longer than copying (docs/experiments/checkpoint-copies.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Each(Protocol):
    """The type of `map` and of an executor's `map`."""

    def __call__(self, function: Callable[[Any], Any], values: Iterable[Any], /) -> Iterable[Any]: ...


class Copies:
    """The copies of one set of arrays, by name. Each call of `of` overwrites the copies of the call before.

    >>> copies, array = Copies(), np.arange(3)
    >>> before = copies.of({"a": array})["a"]
    >>> array[0] = 7
    >>> before.tolist(), copies.of({"a": array})["a"].tolist(), before.tolist()
    ([0, 1, 2], [7, 1, 2], [7, 1, 2])
    """

    def __init__(self) -> None:
        self._room: dict[str, NDArray[Any]] = {}

    def of(self, arrays: Mapping[str, NDArray[Any]], each: Each = map) -> dict[str, NDArray[Any]]:
        """Copy the arrays. `each`: `map`, or an executor's `map` to copy several arrays at the same time."""
        self._room = {name: self._fitting(name, array) for name, array in arrays.items()}
        copies = {name: self._room[name][: array.size].reshape(array.shape) for name, array in arrays.items()}
        for _ in each(lambda name: np.copyto(copies[name], arrays[name]), copies):
            pass
        return copies

    def _fitting(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return memory for a copy: that of the last copy if it is large enough, else new memory, half as much again
        for an array that has grown. Pages that are never written take no memory."""
        room = self._room.get(name)
        if room is not None and room.dtype == array.dtype and len(room) >= array.size:
            return room
        return np.empty(array.size if room is None else array.size * 3 // 2, array.dtype)
