"""Copies of arrays, made over earlier ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stream_worker.core.copies import Copies


def _arrays(size: int, fill: float) -> dict[str, np.ndarray]:
    return {
        "vector": np.full(size, fill, np.float32),
        "matrix": np.full((2, size), fill, np.float64)[:, ::-1],
        "one": np.array(fill),
        "none": np.zeros((0, 3), np.int32),
    }


@pytest.mark.parametrize("sizes", [(5, 5), (5, 3), (3, 5), (3, 400)])
def test_what_was_copied_is_equal_and_stays(sizes: tuple[int, int]) -> None:
    """Whether the arrays kept their sizes, shrank or grew; with several threads, too."""
    copies = Copies()
    with ThreadPoolExecutor(2) as threads:
        for number, size in enumerate((*sizes, *sizes)):
            arrays = _arrays(size, float(number))
            made = copies.of(arrays, threads.map)
            for array in arrays.values():
                array[...] = -1.0
            for name, expected in _arrays(size, float(number)).items():
                assert made[name].dtype == expected.dtype
                assert made[name].shape == expected.shape
                assert np.array_equal(made[name], expected)
                assert made[name].flags.c_contiguous


def test_room_is_used_again_and_let_go() -> None:
    """Copies of arrays that do not grow lie where the last ones lay; of those that are gone nothing is kept."""
    copies = Copies()
    first, second = copies.of(_arrays(9, 1.0)), copies.of(_arrays(8, 2.0))
    assert all(np.shares_memory(second[name], first[name]) for name in ("vector", "matrix", "one"))
    copies.of({})
    assert not copies._room


def test_another_type_gets_other_room() -> None:
    copies = Copies()
    copies.of({"a": np.zeros(3, np.float32)})
    assert copies.of({"a": np.array([1 << 40])})["a"].tolist() == [1 << 40]
