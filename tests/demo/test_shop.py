"""The simulated shop: the same for the same seed, and with something in it to learn."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import pytest

from stream_worker.core.codec import encode_event
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.demo.shop import FIRST_CUSTOMER, Action, Shop, ShopConfig


def _until(config: ShopConfig, seconds: float) -> tuple[Shop, list[Action]]:
    shop = Shop(config)
    return shop, list(takewhile(lambda action: action.seconds < seconds, shop.actions()))


def _views(actions: list[Action]) -> list[Action]:
    return [action for action in actions if action.type == "view"]


def test_the_same_seed_gives_the_same_events() -> None:
    """Event by event, across the change of taste and new items; another seed gives others."""
    config = ShopConfig(change_after_seconds=5)
    assert _until(config, 10)[1] == _until(config, 10)[1]
    assert _until(config, 10)[1] != _until(ShopConfig(change_after_seconds=5, seed=1), 10)[1]


def test_events_come_in_order_at_the_rate_asked_for() -> None:
    """Within a tenth, from the second minute on as in the first."""
    for rate in (50.0, 300.0):
        _, actions = _until(ShopConfig(rate=rate), 60)
        assert [a.seconds for a in actions] == sorted(a.seconds for a in actions)
        late = [a for a in actions if a.seconds >= 30]
        assert len(late) / 30 == pytest.approx(rate, rel=0.1)


def test_every_event_is_one_of_contract_1() -> None:
    """The worker's own decoder takes all of them, with the defaults."""
    actions = list(islice(Shop(ShopConfig()).actions(), 2_000))
    start = 1_700_000_000.0
    records = [
        Record(0, k, int((start + a.seconds) * 1000), a.user.encode(),
               encode_event(a.user, a.item, a.type, start + a.seconds, session=a.session))
        for k, a in enumerate(actions)
    ]  # fmt: skip
    decoder = Decoder(EventsConfig())
    events, dead = decoder.decode(records)
    assert (len(events), dead, decoder.key_mismatches) == (2_000, [], 0)
    assert {a.type for a in actions} == {"view", "cart", "purchase"}


def test_carts_and_purchases_are_of_what_was_viewed_in_the_session() -> None:
    """A purchase follows its cart, a cart its view."""
    seen: dict[str, Action] = {}
    for action in islice(Shop(ShopConfig()).actions(), 5_000):
        if action.type != "view":
            before = seen[action.session]
            assert (before.type, before.item) == ({"cart": "view", "purchase": "cart"}[action.type], action.item)
        seen[action.session] = action


def test_tastes_can_be_learned() -> None:
    """Nine views of ten are to the customer's taste, which is one shelf of many; popularity alone knows little."""
    shop, actions = _until(ShopConfig(), 30)
    views = _views(actions)
    to_taste = sum(shop.tastes[a.user].likes(a.item) for a in views) / len(views)
    popular = {item for item, _ in Counter(a.item for a in views).most_common(20)}
    assert to_taste > 0.85
    assert sum(a.item in popular for a in views) / len(views) < 0.3
    assert len(set(shop.tastes.values())) >= 12


def test_what_comes_next_can_be_learned() -> None:
    """Within a session the thing that follows a thing comes far more often than one of six by chance."""
    _, actions = _until(ShopConfig(), 30)
    last: dict[str, str] = {}
    followers: dict[str, Counter[str]] = {}
    for action in _views(actions):
        thing = action.item.split(" ", 1)[1].rpartition(" #")[0]
        if action.session in last:
            followers.setdefault(last[action.session], Counter())[thing] += 1
        last[action.session] = thing
    shares = [counts.most_common(1)[0][1] / counts.total() for counts in followers.values()]
    assert min(shares) > 0.35


def test_half_of_the_customers_change_their_taste_once() -> None:
    """At the second asked for, to shelves hardly anybody looked at before; the first customer is one of them."""
    config = ShopConfig(change_after_seconds=20)
    before = Shop(config)
    after, actions = _until(config, 40)
    changed = {user for user, taste in after.tastes.items() if taste != before.tastes[user]}
    assert (before.changed, after.changed) == (False, True)
    assert len(changed) == config.customers // 2
    assert FIRST_CUSTOMER in changed
    late = [a for a in _views(actions) if a.seconds >= 20 and a.user in changed]
    assert sum(after.tastes[a.user].likes(a.item) for a in late) / len(late) > 0.8
    known = {a.item for a in actions if a.seconds < 20}
    assert sum(a.item in known for a in late) / len(late) < 0.2


def test_without_a_change_tastes_stay() -> None:
    """The default never changes them."""
    shop, _ = _until(ShopConfig(), 60)
    assert not shop.changed
    assert shop.tastes == Shop(ShopConfig()).tastes


def test_new_items_appear_and_are_looked_at() -> None:
    """About as many as asked for; what was there at the opening keeps its name."""
    opening = len(Shop(ShopConfig()).shelves)
    shop, _ = _until(ShopConfig(new_items_a_second=2), 30)
    assert len(shop.shelves) - opening == pytest.approx(60, abs=5)
    quiet, actions = _until(ShopConfig(new_items_a_second=0), 30)
    assert len(quiet.shelves) == opening
    _, busy = _until(ShopConfig(new_items_a_second=2), 30)
    assert {a.item.rpartition("#")[2] for a in busy} > {a.item.rpartition("#")[2] for a in actions}


def test_popularity_shifts() -> None:
    """The hits of the first ten seconds are not those of half a minute later, though no taste changed."""
    _, actions = _until(ShopConfig(rate=1_000), 40)

    def hits(begin: float) -> set[str]:
        counts = Counter(a.item for a in _views(actions) if begin <= a.seconds < begin + 10)
        return {item for item, _ in counts.most_common(40)}

    assert len(hits(0) & hits(5)) > len(hits(0) & hits(30))


@pytest.mark.parametrize("bad", [{"rate": 0}, {"customers": 1}, {"models": 0}, {"new_items_a_second": -1}])
def test_impossible_shops_are_refused(bad: dict[str, int]) -> None:
    """With the name of the value."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        ShopConfig(**bad)
