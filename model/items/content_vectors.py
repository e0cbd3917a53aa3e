"""Vectors of what is written about items, or of vectors that are given for them, the same in every process.

A text's vector counts its 3-grams of bytes, each with signs that its hash draws (random projection, Achlioptas 2003); a
given vector is projected by signs that its kind draws. So no words, weights or dictionaries have to be kept, and items
whose texts share many 3-grams have a large cosine.

Shape suffixes: M items, X bytes of all texts, D size of a vector, G size of a given vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel

DIM = 128  # of what is kept; an even number of 64. 64 and 256: docs/experiments/content.md
# Titles are of free words, of which few tell items apart; names are chosen from a few: docs/experiments/content.md.
_NAMES_WEIGHT = np.float32(2.0)
_KINDS_KEPT = 16  # projections of given vectors that are kept, of the last kinds; not tuned


def content_vectors(
    titles: Sequence[str], names: Sequence[str], given: Sequence[Mapping[str, NDArray[np.float32]]]
) -> NDArray[np.float16]:
    """Return unit vectors [M, D] of items: of their titles, names and given vectors; zeros where there is none.

    names: tags, category and brand
    """
    vectors_MD = _unit(text_sums(titles)) + _NAMES_WEIGHT * _unit(text_sums(names))
    for m, kinds in enumerate(given):
        for kind in sorted(kinds):
            vectors_MD[m] += projected(kind, kinds[kind])
    return _unit(vectors_MD).astype(np.float16)


def text_sums(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the sum [M, D] of the signs of each text's 3-grams; upper and lower case are the same."""
    encoded = [f" {text.lower()} ".encode() if text else b"" for text in texts]
    ends_M = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    sums_MD = np.zeros((len(texts), DIM), np.float32)
    _add_grams(np.frombuffer(b"".join(encoded), np.uint8), ends_M, sums_MD)
    return sums_MD


def projected(kind: str, given_G: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the unit vector [D] of a given vector of this kind; zeros if it has no length."""
    flat_1G = given_G.reshape(1, -1).astype(np.float32)
    sums_1D: NDArray[np.float32] = _unit(np.nan_to_num(flat_1G, posinf=0.0, neginf=0.0)) @ _signs(kind, flat_1G.size)
    unit_D: NDArray[np.float32] = _unit(sums_1D)[0]
    return unit_D


@lru_cache(_KINDS_KEPT)
def _signs(kind: str, size: int) -> NDArray[np.float32]:
    """Return a matrix [G, D] of -1 and 1, drawn by SHAKE-256 of the kind and the size."""
    drawn = hashlib.shake_256(f"{size}:{kind}".encode()).digest(size * DIM // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(size, DIM)
    return 2.0 * bits.astype(np.float32) - 1.0


def _unit(vectors_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths_M1 = np.linalg.norm(vectors_MD, axis=1, keepdims=True)
    unit_MD: NDArray[np.float32] = np.divide(
        vectors_MD, lengths_M1, out=np.zeros_like(vectors_MD), where=lengths_M1 > 0
    )
    return unit_MD


@kernel
def _add_grams(bytes_X, ends_M, sums_MD):  # type: ignore[no-untyped-def]
    start = 0
    for m in range(len(ends_M)):
        for x in range(start, ends_M[m] - 2):
            gram = np.uint64(bytes_X[x]) | np.uint64(bytes_X[x + 1]) << np.uint64(8)
            gram |= np.uint64(bytes_X[x + 2]) << np.uint64(16)
            for word in range(DIM // 64):
                bits = _mixed(gram + (np.uint64(word + 1) << np.uint64(32)))
                for d in range(64):
                    sign = np.float32(np.int64((bits >> np.uint64(d)) & np.uint64(1)) * 2 - 1)
                    sums_MD[m, 64 * word + d] += sign
        start = ends_M[m]


@kernel
def _mixed(x):  # type: ignore[no-untyped-def]
    """Return 64 bits that each depend on all of x: splitmix64 (Steele et al., 2014)."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
