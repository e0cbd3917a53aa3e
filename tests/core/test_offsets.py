"""The rule of the four next offsets, case by case. What it comes to where everything dies: `test_offsets_model`."""

from __future__ import annotations

import numpy as np
import pytest

from stream_worker.core.offsets import Offsets


def _effects(published: int, learned: int, floor: int, offset: int, n: int) -> tuple[bool, bool, bool, int]:
    offsets = Offsets()
    offsets.claim(3, published, learned, floor)
    effects = offsets.effects(np.array([3]), np.array([offset]), np.array([n]))
    return bool(effects.remember_B[0]), bool(effects.learn_B[0]), bool(effects.publish_B[0]), effects.unlearned


@pytest.mark.parametrize("offset", range(10, 24))
@pytest.mark.parametrize(("learned", "n"), [(15, 12), (12, 15), (15, 15), (0, 12), (0, 0), (20, 20)])
def test_each_effect_begins_at_its_own_offset(offset: int, learned: int, n: int) -> None:
    """Remember at or past n, learn at or past max(L, n), publish at or past Y; a gap is what L lacks and n has."""
    assert _effects(20, learned, 10, offset, n) == (
        offset >= n,
        offset >= max(learned, n),
        offset >= 20,
        int(0 < learned <= offset < n),
    )


@pytest.mark.parametrize(("n", "learned"), [(15, 12), (12, 15), (0, 0), (20, 20)])
def test_an_event_is_published_again_where_it_was_remembered_or_learned_past_the_published_offset(
    n: int, learned: int
) -> None:
    """n and L are never past Y, so Y was further than it says: the group's offsets had expired."""
    offsets = Offsets()
    offsets.claim(3, 10, learned, 10)
    at = np.arange(8, 24)
    effects = offsets.effects(np.full(16, 3), at, np.full(16, n))
    assert effects.again == int(np.sum((at >= 10) & (at < max(n, learned))))


def test_partitions_do_not_mix() -> None:
    """Each event is judged by the offsets of its own partition."""
    offsets = Offsets()
    offsets.claim(0, published=5, learned=5, floor=5)
    offsets.claim(7, published=9, learned=2, floor=1)
    effects = offsets.effects(np.array([7, 0, 7, 0]), np.array([4, 4, 9, 6]), np.array([3, 0, 3, 0]))
    assert effects.learn_B.tolist() == [True, False, True, True]
    assert effects.publish_B.tolist() == [False, False, True, True]


def test_only_what_the_broker_lacks_is_due() -> None:
    """Events read again between M and Y move nothing; Y and M never go back."""
    offsets = Offsets()
    assert offsets.claim(0, published=20, learned=15, floor=10) == 10
    offsets.process({0: 18})
    assert offsets.due() == {}
    offsets.process({0: 25})
    assert offsets.due() == {0: 25}
    offsets.publish({0: 25})
    offsets.publish({0: 22})
    offsets.set_floor(0, 25)
    offsets.set_floor(0, 11)
    assert offsets.due() == {}
    assert offsets.floors() == {0: 25}
    assert offsets.publishes(0, 25)
    assert not offsets.publishes(0, 24)


def test_a_partition_given_up_is_forgotten() -> None:
    """What comes back from the background for it changes nothing; claimed again, it starts from what is claimed."""
    offsets = Offsets()
    offsets.claim(0, 5, 5, 5)
    offsets.claim(1, 6, 6, 6)
    offsets.forget([0, 9])
    offsets.publish({0: 50, 1: 7})
    offsets.set_floor(0, 50)
    assert offsets.owned() == [1]
    assert 0 not in offsets
    assert offsets.processed() == {1: 6}
    assert offsets.claim(0, published=8, learned=3, floor=2) == 2
    assert offsets.processed() == {0: 2, 1: 6}
