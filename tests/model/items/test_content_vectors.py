"""Texts that share words, and given vectors that are near one another, have vectors near one another."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.items.content_vectors import DIM, content_vectors, projected, text_sums


def _cosines(*texts: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    vectors = content_vectors(texts, [""] * len(texts), [{}] * len(texts)).astype(np.float32)
    return vectors @ vectors.T


def test_texts_that_share_words_are_near_one_another() -> None:
    cosines = _cosines("WHITE HANGING HEART T-LIGHT", "red hanging heart t-light", "Pack of 72 cake cases")
    assert cosines[0, 1] > 0.7
    assert abs(cosines[0, 2]) < 0.3
    np.testing.assert_allclose(np.diag(cosines), 1, atol=2e-3)


def test_no_text_has_no_direction() -> None:
    assert not content_vectors([""], [""], [{}]).any()


@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_text_has_the_same_vector_beside_any_others(texts: list[str]) -> None:
    """Letters of any language."""
    whole = text_sums(texts)
    for text, sums in zip(texts, whole, strict=True):
        np.testing.assert_array_equal(text_sums([text])[0], sums)


def test_vectors_are_the_same_in_every_process_and_version() -> None:
    """They are in checkpoints, beside those that are computed later."""
    sums = text_sums(["Toy Story", "läuft"])
    signs = np.sign(projected("text", np.array([1.0], np.float32)))
    assert sums.shape == (2, DIM)
    found = [hashlib.sha256(array.astype(np.int8).tobytes()).hexdigest()[:12] for array in (sums, signs)]
    assert found == ["45dbffc0bb82", "23dfe82d7cf9"]


def test_given_vectors_keep_their_cosines() -> None:
    """Within what 128 numbers can tell, whatever their lengths."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 384)).astype(np.float32)
    near = one + 0.3 * other
    cosine = float(one @ near / np.linalg.norm(one) / np.linalg.norm(near))
    assert abs(projected("text", one) @ projected("text", 7 * near) - cosine) < 0.15
    assert abs(projected("text", one) @ projected("text", other)) < 0.3
    assert abs(projected("text", one) @ projected("image", one)) < 0.3, "kinds are not compared with each other"


def test_names_weigh_more_than_titles() -> None:
    one, same_names, same_title = content_vectors(
        ["Toy Story", "Heat", "Toy Story"], ["Animation", "Animation", "Thriller"], [{}] * 3
    ).astype(np.float32)
    assert one @ same_names > one @ same_title > 0.1


def test_an_item_with_text_and_vector_is_near_to_each_of_both() -> None:
    given_vector = {"image": np.random.default_rng(0).standard_normal(512).astype(np.float32)}
    both, text, image = content_vectors(
        ["a red lamp", "a red lamp", ""], [""] * 3, [given_vector, {}, given_vector]
    ).astype(np.float32)
    assert both @ text > 0.5
    assert both @ image > 0.5


def test_a_vector_that_is_not_finite_or_zero_has_no_direction() -> None:
    assert not projected("text", np.array([np.nan, np.inf, 0.0], np.float32)).any()
