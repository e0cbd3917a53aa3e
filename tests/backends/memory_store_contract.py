"""What every memory store promises, as one suite that the twin and a real Redis both pass.

A suite class gets a fixture `peers`: two stores that share everything (the twin: one store, twice).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_worker.core.errors import StaleToken
from stream_worker.core.interfaces import MemoryStore

Key = tuple[int, str]
NAMES = [
    "u",
    "U",
    "a*",
    "a?c",
    "[ab]",
    "^a",
    "back\\slash",
    "co:lon",
    "{brace}",
    "x}:u:y",
    "y",
    "ü€🙂",
    " ",
    "a b",
    "0",
]


def blob(next_offset: int, payload: bytes = b"state") -> bytes:
    """A memory record, as far as a store looks into it."""
    return b"\x01" + next_offset.to_bytes(8, "big") + payload


@dataclass(frozen=True)
class Peers:
    """Two stores on the same contents."""

    one: MemoryStore
    two: MemoryStore


def token_of(store: MemoryStore, partition: int = 0) -> int:
    return store.claim([partition])[partition].token


def stored(store: MemoryStore) -> dict[Key, bytes]:
    rows = list(store.scan())
    found = {(partition, user): record for partition, user, record in rows}
    assert len(found) == len(rows), "a record came twice"
    return found


class Ownership:
    """Tokens and floors."""

    def test_every_claim_has_a_greater_token_whoever_claims(self, peers: Peers) -> None:
        tokens = [token_of(store) for store in (peers.one, peers.two, peers.one, peers.one)]
        assert all(before < after for before, after in pairwise(tokens))
        assert tokens[0] > 0

    def test_partitions_have_tokens_and_floors_of_their_own(self, peers: Peers) -> None:
        first = peers.one.claim([0, 7])
        token_of(peers.two, 0)
        peers.one.set_floor(7, first[7].token, 12)
        with pytest.raises(StaleToken):
            peers.one.set_floor(0, first[0].token, 12)
        claims = peers.two.claim([7, 0])
        assert (claims[0].floor, claims[7].floor) == (None, 12)
        assert peers.one.claim([]) == {}

    def test_a_floor_is_none_until_it_is_written_and_zero_is_a_floor(self, peers: Peers) -> None:
        claim = peers.one.claim([0])[0]
        assert claim.floor is None
        peers.one.set_floor(0, claim.token, 0)
        assert peers.two.claim([0])[0].floor == 0

    def test_a_floor_never_goes_down(self, peers: Peers) -> None:
        token = token_of(peers.one)
        for floor in (9, 100, 20, 99):
            peers.one.set_floor(0, token, floor)
        assert peers.two.claim([0])[0].floor == 100

    def test_the_former_owner_can_neither_read_nor_write(self, peers: Peers) -> None:
        """StaleToken tells all three numbers, and nothing at all was written."""
        old = token_of(peers.one)
        peers.one.save(0, old, [("u", blob(5))])
        peers.one.set_floor(0, old, 5)
        current = token_of(peers.two)
        attempts: list[Callable[[], object]] = [
            lambda: peers.one.load({0: old}, [(0, "u")]),
            lambda: peers.one.save(0, old, [("new", blob(9)), ("u", blob(9))]),
            lambda: peers.one.set_floor(0, old, 9),
        ]
        for attempt in attempts:
            with pytest.raises(StaleToken) as caught:
                attempt()
            assert (caught.value.partition, caught.value.token, caught.value.current) == (0, old, current)
        assert stored(peers.two) == {(0, "u"): blob(5)}
        assert peers.two.claim([0])[0].floor == 5

    def test_a_partition_that_nobody_claimed_takes_nothing(self, peers: Peers) -> None:
        with pytest.raises(StaleToken, match="the current one is 0"):
            peers.one.save(3, 1, [("u", blob(1))])
        with pytest.raises(StaleToken, match="the current one is 0"):
            peers.one.load({3: 1}, [(3, "u")])
        assert stored(peers.one) == {}

    def test_one_stale_partition_spoils_a_load_of_several(self, peers: Peers) -> None:
        tokens = {p: claim.token for p, claim in peers.one.claim([0, 1]).items()}
        token_of(peers.two, 1)
        with pytest.raises(StaleToken, match="partition 1"):
            peers.one.load(tokens, [(0, "u"), (1, "u")])
        assert peers.one.load(tokens, [(0, "u")]) == [None]

    def test_a_slot_belongs_to_who_took_it_last(self, peers: Peers) -> None:
        assert peers.one.slot_owner("0") is None
        peers.one.take_slot("0", "first")
        peers.two.take_slot("1", "other")
        assert (peers.two.slot_owner("0"), peers.one.slot_owner("1")) == ("first", "other")
        peers.two.take_slot("0", "second")
        assert peers.one.slot_owner("0") == "second"


class Records:
    """What is saved, loaded and scanned."""

    def test_records_come_in_the_order_asked_for_with_none_where_there_is_none(self, peers: Peers) -> None:
        tokens = {p: claim.token for p, claim in peers.one.claim([0, 1]).items()}
        peers.one.save(0, tokens[0], [("a", blob(1, b"a0")), ("b", blob(2, b"b0"))])
        peers.one.save(1, tokens[1], [("a", blob(3, b"a1"))])
        keys = [(1, "a"), (0, "b"), (1, "b"), (0, "a"), (1, "a")]
        assert peers.one.load(tokens, keys) == [blob(3, b"a1"), blob(2, b"b0"), None, blob(1, b"a0"), blob(3, b"a1")]
        assert peers.one.load(tokens, []) == []

    def test_a_next_offset_never_goes_down(self, peers: Peers) -> None:
        """Per record: the others of the same call are written, and counted."""
        token = token_of(peers.one)
        assert peers.one.save(0, token, [("a", blob(10)), ("b", blob(10))]) == 2
        assert peers.one.save(0, token, [("a", blob(9, b"lower")), ("b", blob(11, b"higher"))]) == 1
        assert stored(peers.one) == {(0, "a"): blob(10), (0, "b"): blob(11, b"higher")}

    def test_an_equal_next_offset_is_written_again(self, peers: Peers) -> None:
        """A state rebuilt for another line has the next offset that it had."""
        token = token_of(peers.one)
        peers.one.save(0, token, [("a", blob(10, b"before"))])
        assert peers.one.save(0, token, [("a", blob(10, b"rebuilt, and longer"))]) == 1
        assert stored(peers.one) == {(0, "a"): blob(10, b"rebuilt, and longer")}

    def test_next_offsets_are_compared_as_numbers_of_64_bits(self, peers: Peers) -> None:
        """Every byte counts, zero bytes and those above 127 too."""
        token = token_of(peers.one)
        steps = sorted({0, 2**63 - 1, *(byte << shift for shift in range(0, 63, 8) for byte in (1, 65, 97, 128, 255))})
        steps = [step for step in steps if step < 2**63]
        for lower, higher in pairwise(steps):
            assert peers.one.save(0, token, [("u", blob(higher))]) == 1, (lower, higher)
            assert peers.one.save(0, token, [("u", blob(lower))]) == 0, (lower, higher)
        assert stored(peers.one) == {(0, "u"): blob(steps[-1])}

    def test_thousands_of_records_go_in_one_call(self, peers: Peers) -> None:
        token = token_of(peers.one)
        records = [(f"user{n}", blob(n, b"%d" % n)) for n in range(2_501)]
        assert peers.one.save(0, token, records) == 2_501
        assert peers.two.load({0: token}, [(0, user) for user, _ in records]) == [record for _, record in records]
        assert stored(peers.two) == {(0, user): record for user, record in records}

    def test_saving_nothing_writes_nothing(self, peers: Peers) -> None:
        assert peers.one.save(0, token_of(peers.one), []) == 0
        assert stored(peers.one) == {}

    @pytest.mark.parametrize("user", NAMES)
    def test_a_scan_finds_one_user_in_every_partition_and_no_other(self, peers: Peers, user: str) -> None:
        """Names with wild characters, separators and any letters mean themselves."""
        claims = peers.one.claim([0, 12])
        for partition, claim in claims.items():
            peers.one.save(partition, claim.token, [(name, blob(1, name.encode())) for name in NAMES])
        assert sorted(peers.two.scan(user)) == [(p, user, blob(1, user.encode())) for p in (0, 12)]
        assert len(stored(peers.two)) == 2 * len(NAMES)

    def test_a_scan_for_a_stranger_is_empty(self, peers: Peers) -> None:
        peers.one.save(0, token_of(peers.one), [("abc", blob(1))])
        assert list(peers.one.scan("a*")) == list(peers.one.scan("ab")) == list(peers.one.scan("")) == []

    def test_ping_says_something(self, peers: Peers) -> None:
        line = peers.one.ping()
        assert line
        assert "\n" not in line


class Items:
    """The dictionary of item numbers."""

    def test_numbers_begin_at_one_and_are_the_same_for_everybody_for_ever(self, peers: Peers) -> None:
        assert peers.one.number_items(["a", "b"]) == [1, 2]
        assert peers.two.number_items(["b", "ü", "a", "b"]) == [2, 3, 1, 2]
        assert peers.one.number_items(["ü"]) == [3]
        assert peers.one.number_items([]) == []

    def test_an_id_twice_in_one_call_has_one_number(self, peers: Peers) -> None:
        assert peers.one.number_items(["a", "a", "b", "a"]) == [1, 1, 2, 1]

    def test_numbers_give_the_ids_back(self, peers: Peers) -> None:
        peers.one.number_items(["a", "ü:{x}", "1"])
        assert peers.two.item_ids([3, 1, 99, 2, 0, 3]) == ["1", "a", None, "ü:{x}", None, "1"]
        assert peers.one.item_ids([]) == []

    def test_thousands_of_ids_are_numbered_in_one_call(self, peers: Peers) -> None:
        ids = [f"item{n}" for n in range(2_501)]
        numbers = peers.one.number_items(ids)
        assert numbers == list(range(1, 2_502))
        assert peers.two.item_ids(numbers) == ids

    def test_workers_that_meet_the_same_new_items_agree(self, peers: Peers) -> None:
        """Eight threads, each with its own order: one number an id, none twice, none left out."""
        answers: list[dict[str, int]] = []

        def ask(store: MemoryStore, shift: int) -> None:
            for start in range(0, 300, 20):
                ids = [f"item{(n * 7 + shift * 41) % 300}" for n in range(start, start + 20)]
                answers.append(dict(zip(ids, store.number_items(ids), strict=True)))

        threads = [threading.Thread(target=ask, args=((peers.one, peers.two)[n % 2], n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8 * 15
        numbers: dict[str, set[int]] = defaultdict(set)
        for answer in answers:
            for item, number in answer.items():
                numbers[item].add(number)
        assert all(len(several) == 1 for several in numbers.values())
        assert sorted(number for several in numbers.values() for number in several) == list(range(1, 301))


class MemoryStoreContract(Ownership, Records, Items):
    """All of it."""


_PARTITIONS = st.integers(0, 2)
_USERS = st.sampled_from(["u", "v*", "ü", "x}:u:u"])
_OFFSETS = st.integers(0, 400) | st.sampled_from([2**32 - 1, 2**32, 2**53 + 1, 2**53, 2**63 - 1])
_ITEMS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=4)


class StoreBesideDict(RuleBasedStateMachine):
    """Any sequence of operations, tokens old and new, beside dictionaries. A subclass makes the store."""

    def make(self) -> MemoryStore:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make()
        self.records: dict[Key, bytes] = {}
        self.floors: dict[int, int] = {}
        self.tokens: dict[int, list[int]] = {p: [] for p in range(3)}
        self.numbers: dict[str, int] = {}

    @rule(partition=_PARTITIONS)
    def claim(self, partition: int) -> None:
        claim = self.store.claim([partition])[partition]
        assert claim.floor == self.floors.get(partition)
        assert claim.token > max(self.tokens[partition], default=0)
        self.tokens[partition].append(claim.token)

    def accepts(self, partition: int, back: int, call: Callable[[int], object]) -> bool:
        """Make `call` with the newest token, or with one from `back` claims ago, which has to be refused."""
        tokens = self.tokens[partition]
        token = tokens[-1 - back] if back < len(tokens) else 10_000
        if tokens and token == tokens[-1]:
            call(token)
            return True
        with pytest.raises(StaleToken):
            call(token)
        return False

    @rule(
        partition=_PARTITIONS,
        back=st.sampled_from([0, 0, 0, 1, 2]),
        rows=st.lists(st.tuples(_USERS, _OFFSETS, st.binary(max_size=3)), max_size=4, unique_by=lambda row: row[0]),
    )
    def save(self, partition: int, back: int, rows: list[tuple[str, int, bytes]]) -> None:
        if not rows:
            return
        new = {(partition, user): blob(offset, payload) for user, offset, payload in rows}
        written: list[int] = []
        given = [(user, record) for (_, user), record in new.items()]
        if self.accepts(partition, back, lambda t: written.append(self.store.save(partition, t, given))):
            better = {key: new[key] for key in new if new[key][1:9] >= self.records.get(key, b"")[1:9]}
            self.records |= better
            assert written == [len(better)]

    @rule(partition=_PARTITIONS, back=st.sampled_from([0, 0, 1]), users=st.lists(_USERS, min_size=1, max_size=4))
    def load(self, partition: int, back: int, users: list[str]) -> None:
        keys = [(partition, user) for user in users]
        loaded: list[list[bytes | None]] = []
        if self.accepts(partition, back, lambda t: loaded.append(self.store.load({partition: t}, keys))):
            assert loaded == [[self.records.get(key) for key in keys]]

    @rule(partition=_PARTITIONS, back=st.sampled_from([0, 0, 1]), floor=st.integers(0, 2**53))
    def set_floor(self, partition: int, back: int, floor: int) -> None:
        if self.accepts(partition, back, lambda t: self.store.set_floor(partition, t, floor)):
            self.floors[partition] = max(floor, self.floors.get(partition, 0))

    @rule(ids=_ITEMS)
    def number_items(self, ids: list[str]) -> None:
        for item in ids:
            self.numbers.setdefault(item, len(self.numbers) + 1)
        assert self.store.number_items(ids) == [self.numbers[item] for item in ids]

    @rule(user=_USERS)
    def scan_one(self, user: str) -> None:
        expected = sorted((p, name, record) for (p, name), record in self.records.items() if name == user)
        assert sorted(self.store.scan(user)) == expected

    @invariant()
    def contents_agree(self) -> None:
        assert stored(self.store) == self.records
        known = list(self.numbers.values())
        assert self.store.item_ids([*known, 99]) == [*self.numbers, None]
