"""What every memory store promises, as a suite that the twin and a real Redis both pass.

A suite class gets a fixture `make_store`: each call gives a new, empty store; `item_ids` is what it has room for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from stream_worker.core.errors import MemoriesLost, StaleToken
from stream_worker.core.interfaces import Holder, MemoryStore
from stream_worker.core.memory_record import KNOWN_VERSIONS
from stream_worker.core.offsets import Kept

MakeStore = Callable[..., MemoryStore]

ODD_USERS = [
    "", " ", "0", "ü", "用户", "a:b", "a}:u:b", "b", "}", "{0}", "*", "a*", "a?", "?", "[ab]", "a[b]", "^", "\\",
    "a\\*", "a-b", "a\nb", "\0", "'", '"', "%s", "x" * 256,
]  # fmt: skip

# Pairs (lower, higher): neighbours of every byte's bound, and what collation orders of en_US turn round.
_NEXT_OFFSETS = [
    (0, 1), (9, 10), (64, 195), (124, 139), (127, 128), (255, 256), (256, 511), (65_535, 65_536),
    (285_970_256, 285_970_374), (2**31 - 1, 2**31), (2**32 - 1, 2**32), (2**32, 2**33 + 1),
    (2**53, 2**53 + 1), (2**63 - 1, 2**63), (2**64 - 2, 2**64 - 1),
]  # fmt: skip


def record(next_offset: int, body: bytes = b"", version: int = 1) -> bytes:
    """The part of a record that a store looks at, and a body that it does not."""
    return bytes([version]) + next_offset.to_bytes(8, "big") + body


def token_of(store: MemoryStore, partition: int = 0) -> int:
    return store.claim([partition])[partition].token


@pytest.fixture
def store(make_store: MakeStore) -> MemoryStore:
    return make_store()


class MemoryStoreContract:
    examples = 60

    def test_a_partition_that_nobody_had_has_no_floor(self, store: MemoryStore) -> None:
        claims = store.claim([3, 1])
        assert set(claims) == {1, 3}
        assert [claim.floor for claim in claims.values()] == [None, None]

    def test_every_claim_has_a_larger_token_and_the_floor_that_was_written(self, store: MemoryStore) -> None:
        first = store.claim([0, 1])
        store.set_floor(0, first[0].token, 0)
        store.set_floor(1, first[1].token, 2**53 + 1)
        second = store.claim([0, 1])
        assert [second[p].floor for p in (0, 1)] == [0, 2**53 + 1]
        assert all(second[p].token > first[p].token for p in (0, 1))

    def test_the_id_of_a_topic_is_adopted_once_and_the_floor_stays(self, store: MemoryStore) -> None:
        """What an older version wrote is of the topic that is there when an id is first known; not to know it again
        changes nothing."""
        store.set_floor(0, token_of(store), 40)
        claims = [store.claim([0], {}, Kept(topic_id=topic_id))[0] for topic_id in ("a", "", "a")]
        assert [(claim.floor, claim.generation, claim.before) for claim in claims] == [(40, 0, "")] * 3
        assert store.kept([0])[0].topic_id == "a"

    def test_under_another_id_the_floor_is_gone_and_a_generation_begins(self, store: MemoryStore) -> None:
        """Also under an id that was there before: M of then says nothing of what was written since. Other partitions
        keep theirs until they are claimed."""
        first = store.claim([0, 1], {}, Kept(topic_id="a"))
        for partition, claim in first.items():
            store.set_floor(partition, claim.token, 40, 44)
        second = store.claim([0], {}, Kept(topic_id="b"))[0]
        assert (second.floor, second.generation, second.before) == (None, 1, "a")
        kept = store.kept([0, 1])
        assert [(kept[p].floor, kept[p].topic_id, kept[p].stood) for p in (0, 1)] == [(None, "b", 0), (40, "a", 44)]
        store.set_floor(0, second.token, 3)
        assert store.claim([0], {}, Kept(topic_id="b"))[0].floor == 3
        third = store.claim([0], {}, Kept(topic_id="a"))[0]
        assert (third.floor, third.generation, third.before) == (None, 2, "b")

    def test_what_is_kept_of_a_partition_is_told_to_whoever_asks(self, store: MemoryStore) -> None:
        """How few partitions there were and how many there have been, over all topics of the name; where the reader of
        M stood, which never goes back."""
        assert store.kept([0, 5]) == {0: Kept(), 5: Kept()}
        token = store.claim([0], {}, Kept(topic_id="a", first_partitions=4, partitions=8))[0].token
        store.set_floor(0, token, 10, 12)
        store.set_floor(0, token, 10, 11)
        assert store.kept([0])[0] == Kept(10, "a", 12, 4, 8)
        store.claim([0], {}, Kept(topic_id="b", first_partitions=6, partitions=6))
        assert store.kept([0])[0] == Kept(None, "b", 0, 4, 8)

    def test_a_claim_tells_the_highest_next_offset_that_was_saved(self, store: MemoryStore) -> None:
        """Of whatever owner, without its generation; other partitions have their own."""
        assert store.claim([0, 1])[0].remembered == 0
        store.save(0, token_of(store), [("a", record(5)), ("b", record(300)), ("c", record(7))])
        store.save(0, token_of(store), [("a", record(6))])
        store.save(1, token_of(store, 1), [("a", record((3 << 48) | 40, version=2))])
        assert [claim.remembered for claim in store.claim([0, 1]).values()] == [300, 40]
        store.save(0, token_of(store), [])
        assert store.claim([0])[0].remembered == 300

    def test_a_refused_save_raises_no_highest_next_offset(self, store: MemoryStore) -> None:
        former = token_of(store)
        token_of(store)
        with pytest.raises(StaleToken):
            store.save(0, former, [("u", record(9))])
        assert store.claim([0])[0].remembered == 0

    def test_under_another_id_of_the_topic_nothing_is_remembered_yet(self, store: MemoryStore) -> None:
        token = store.claim([0], {}, Kept(topic_id="a"))[0].token
        store.save(0, token, [("u", record(9))])
        assert store.claim([0], {}, Kept(topic_id="a"))[0].remembered == 9
        second = store.claim([0], {}, Kept(topic_id="b"))[0]
        assert second.remembered == 0
        store.save(0, second.token, [("u", record((1 << 48) | 2, version=2))])
        assert store.claim([0], {}, Kept(topic_id="b"))[0].remembered == 2

    def test_claiming_a_partition_leaves_the_others_alone(self, store: MemoryStore) -> None:
        tokens = {p: claim.token for p, claim in store.claim([0, 1]).items()}
        store.claim([1])
        assert store.save(0, tokens[0], [("u", record(1))]) == 1
        with pytest.raises(StaleToken):
            store.save(1, tokens[1], [("u", record(1))])

    def test_claiming_and_loading_nothing_gives_nothing(self, store: MemoryStore) -> None:
        assert store.claim([]) == {}
        assert store.load({}, []) == []

    def test_what_was_saved_is_loaded_in_the_order_that_was_asked_for(self, store: MemoryStore) -> None:
        """Across partitions, with what is not there and what is asked for twice."""
        tokens = {p: token_of(store, p) for p in (0, 7)}
        store.save(0, tokens[0], [("a", record(1, b"a0")), ("b", record(2, b"b0"))])
        store.save(7, tokens[7], [("a", record(3, b"a7"))])
        keys = [(7, "a"), (0, "b"), (7, "b"), (0, "a"), (7, "a")]
        assert store.load(tokens, keys) == [
            record(3, b"a7"), record(2, b"b0"), None, record(1, b"a0"), record(3, b"a7"),
        ]  # fmt: skip

    def test_thousands_of_records_are_one_save_and_one_load(self, store: MemoryStore) -> None:
        token = token_of(store)
        records = [(f"u{n}", record(n, b"%d" % n)) for n in range(2_501)]
        assert store.save(0, token, records) == 2_501
        assert store.load({0: token}, [(0, user) for user, _ in reversed(records)]) == [b for _, b in reversed(records)]

    def test_bytes_come_back_as_they_are(self, store: MemoryStore) -> None:
        token, blob = token_of(store), record(5, bytes(range(256)))
        store.save(0, token, [("u", blob)])
        assert store.load({0: token}, [(0, "u")]) == [blob]

    @pytest.mark.parametrize(("lower", "higher"), _NEXT_OFFSETS)
    def test_a_next_offset_is_never_lowered(self, store: MemoryStore, lower: int, higher: int) -> None:
        token = token_of(store)
        assert store.save(0, token, [("u", record(lower))]) == 1
        assert store.save(0, token, [("u", record(higher, b"higher"))]) == 1
        assert store.save(0, token, [("u", record(lower, b"late"))]) == 0
        assert store.load({0: token}, [(0, "u")]) == [record(higher, b"higher")]

    @pytest.mark.parametrize("version", KNOWN_VERSIONS)
    def test_a_next_offset_of_any_version_is_not_lowered(self, store: MemoryStore, version: int) -> None:
        token, there = token_of(store), record(7, version=version)
        store.save(0, token, [("u", there)])
        assert [store.save(0, token, [("u", record(6, version=given))]) for given in KNOWN_VERSIONS] == [0, 0, 0]
        assert store.load({0: token}, [(0, "u")]) == [there]

    def test_a_record_of_the_same_next_offset_is_written_again(self, store: MemoryStore) -> None:
        """A state that was rebuilt under other weights has the n that it had."""
        token = token_of(store)
        store.save(0, token, [("u", record(5, b"old"))])
        assert store.save(0, token, [("u", record(5, b"new"))]) == 1
        assert store.load({0: token}, [(0, "u")]) == [record(5, b"new")]

    @pytest.mark.parametrize("stored", [b" ", b"\x01", b"\x09" + record(9)[1:], b"\x00" * 20])
    def test_what_is_no_record_is_written_over(self, store: MemoryStore, stored: bytes) -> None:
        """A version that is not known says nothing about n; otherwise its user would never be remembered again."""
        token = token_of(store)
        store.save(0, token, [("u", stored)])
        assert store.save(0, token, [("u", record(5))]) == 1
        assert store.load({0: token}, [(0, "u")]) == [record(5)]

    def test_of_one_save_only_the_lower_records_are_left_out(self, store: MemoryStore) -> None:
        token = token_of(store)
        store.save(0, token, [("a", record(5)), ("b", record(5)), ("c", record(5))])
        assert store.save(0, token, [("a", record(4)), ("b", record(6)), ("c", record(5)), ("d", record(0))]) == 3
        assert store.load({0: token}, [(0, u) for u in "abcd"]) == [record(n) for n in (5, 6, 5, 0)]

    def test_a_user_twice_in_one_save_keeps_the_higher_next_offset(self, store: MemoryStore) -> None:
        token = token_of(store)
        assert store.save(0, token, [("u", record(6)), ("u", record(5)), ("u", record(7))]) == 2
        assert store.load({0: token}, [(0, "u")]) == [record(7)]

    @pytest.mark.parametrize("records", [[], [("u", record(9, b"stale")), ("new", record(1))]], ids=["nothing", "two"])
    def test_a_former_owner_can_not_save(self, store: MemoryStore, records: list[tuple[str, bytes]]) -> None:
        """Not even nothing: whoever asks learns that the partition is gone."""
        former = token_of(store)
        store.save(0, former, [("u", record(5))])
        current = token_of(store)
        with pytest.raises(StaleToken) as refused:
            store.save(0, former, records)
        assert (refused.value.partition, refused.value.token, refused.value.current) == (0, former, current)
        assert store.load({0: current}, [(0, "u"), (0, "new")]) == [record(5), None]

    def test_a_former_owner_can_not_load(self, store: MemoryStore) -> None:
        tokens = {p: token_of(store, p) for p in (0, 1)}
        current = token_of(store, 1)
        assert store.load(tokens, [(0, "u")]) == [None]
        with pytest.raises(StaleToken) as refused:
            store.load(tokens, [(0, "u"), (1, "u")])
        assert (refused.value.partition, refused.value.token, refused.value.current) == (1, tokens[1], current)

    def test_a_former_owner_can_not_raise_the_floor(self, store: MemoryStore) -> None:
        former = token_of(store)
        store.set_floor(0, former, 5)
        current = token_of(store)
        with pytest.raises(StaleToken) as refused:
            store.set_floor(0, former, 9)
        assert (refused.value.token, refused.value.current) == (former, current)
        assert store.claim([0])[0].floor == 5

    def test_a_partition_that_was_never_claimed_takes_nothing(self, store: MemoryStore) -> None:
        for call in (
            lambda: store.save(4, 1, [("u", record(1))]),
            lambda: store.set_floor(4, 1, 1),
            lambda: store.load({4: 1}, [(4, "u")]),
        ):
            with pytest.raises(MemoriesLost, match="token of partition 4 is 0, it was 1"):
                call()
            store.begin_again()
        assert store.claim([4])[4].floor is None

    def test_a_store_that_was_lost_says_so_until_it_is_begun_again(self, store: MemoryStore) -> None:
        with pytest.raises(MemoriesLost):
            store.save(4, 1, [("u", record(1))])
        for call in (
            lambda: store.claim([4]),
            lambda: store.number_items(["x"]),
            lambda: store.load({4: 1}, [(4, "u")]),
        ):
            with pytest.raises(MemoriesLost):
                call()
        store.begin_again()
        assert store.claim([4])[4].floor is None
        assert store.number_items(["x"]) == [1]

    def test_a_claim_has_a_token_above_those_that_are_known(self, store: MemoryStore) -> None:
        assert store.claim([0], {0: 2**52})[0].token == 2**52 + 1

    def test_whoever_owns_a_record_it_can_be_peeked_at(self, store: MemoryStore) -> None:
        token = token_of(store, 3)
        store.save(3, token, [("u", record(1))])
        token_of(store, 3)
        assert store.peek([(3, "u"), (4, "u"), (3, "v")]) == [record(1), None, None]
        assert store.peek([]) == []

    def test_a_floor_is_never_lowered(self, store: MemoryStore) -> None:
        token = token_of(store)
        for floor in (5, 100, 20, 99):
            store.set_floor(0, token, floor)
        assert store.claim([0])[0].floor == 100

    def test_users_may_be_called_anything(self, store: MemoryStore) -> None:
        token = token_of(store)
        store.save(0, token, [(user, record(n)) for n, user in enumerate(ODD_USERS)])
        assert store.load({0: token}, [(0, user) for user in ODD_USERS]) == [record(n) for n in range(len(ODD_USERS))]
        assert sorted(store.scan()) == sorted((0, user, record(n)) for n, user in enumerate(ODD_USERS))

    @pytest.mark.parametrize("user", ODD_USERS, ids=repr)
    def test_a_scan_for_a_user_finds_this_one_in_all_partitions(self, store: MemoryStore, user: str) -> None:
        """And no other, whatever characters a pattern would take for wild."""
        for partition in (0, 11):
            records = [(name, record(n)) for n, name in enumerate(ODD_USERS)]
            store.save(partition, token_of(store, partition), records)
        blob = record(ODD_USERS.index(user))
        assert sorted(store.scan(user)) == [(0, user, blob), (11, user, blob)]

    def test_a_scan_gives_every_record_once(self, store: MemoryStore) -> None:
        assert list(store.scan()) == []
        for partition in range(3):
            records = [(f"u{n}", record(n)) for n in range(1_200)]
            store.save(partition, token_of(store, partition), records)
        assert sorted(store.scan()) == sorted((p, f"u{n}", record(n)) for p in range(3) for n in range(1_200))
        assert list(store.scan("nobody")) == []

    def test_items_are_numbered_from_one_and_keep_their_numbers(self, store: MemoryStore) -> None:
        assert store.number_items(["x", "ü", "x", ""]) == [1, 2, 1, 3]
        assert store.number_items(["new", "ü"]) == [4, 2]
        assert store.item_ids([4, 3, 2, 1, 2]) == ["new", "", "ü", "x", "ü"]

    def test_an_unknown_number_names_no_item(self, store: MemoryStore) -> None:
        [number] = store.number_items(["x"])
        assert store.item_ids([0, number + 1, number]) == [None, None, "x"]
        assert store.number_items([]) == []
        assert store.item_ids([]) == []

    def test_thousands_of_items_are_numbered_in_one_call(self, store: MemoryStore) -> None:
        ids = [f"i{n}" for n in range(2_500)]
        assert store.number_items(ids) == list(range(1, 2_501))
        assert store.item_ids(range(1, 2_501)) == ids

    def test_of_more_ids_than_there_is_room_for_the_new_ones_get_no_number(self, make_store: MakeStore) -> None:
        """Those that have one keep it, also in the call that runs out."""
        store = make_store(item_ids=3)
        assert store.number_items(["a", "b"]) == [1, 2]
        assert store.item_ids_used() == pytest.approx(2 / 3)
        assert store.number_items(["c", "d", "a", "e", "d"]) == [3, 0, 1, 0, 0]
        assert store.item_ids_used() == 1.0
        for _ in range(3):
            assert store.number_items([*"edcba"]) == [0, 0, 3, 2, 1]
        assert store.item_ids([0, 1, 2, 3, 4]) == [None, "a", "b", "c", None]

    def test_without_an_expiry_a_number_is_kept_for_ever(self, store: MemoryStore) -> None:
        assert store.numbers_kept_seconds == math.inf

    def test_threads_that_meet_the_same_new_items_agree_on_their_numbers(self, store: MemoryStore) -> None:
        """Each in an order of its own: one number an id, none twice, none left out."""
        answers: list[tuple[str, int]] = []

        def ask(shift: int) -> None:
            for start in range(0, 300, 20):
                ids = [f"i{(7 * n + 41 * shift) % 300}" for n in range(start, start + 20)]
                answers.extend(zip(ids, store.number_items(ids), strict=True))

        threads = [threading.Thread(target=ask, args=(shift,)) for shift in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8 * 300
        numbers = dict(answers)
        assert set(answers) == set(numbers.items())
        assert sorted(numbers.values()) == list(range(1, 301))

    def test_a_slot_belongs_to_whoever_took_it_last(self, store: MemoryStore) -> None:
        assert store.slot_owner("a") is None
        store.take_slot("a", "first")
        store.take_slot("b", "other")
        store.take_slot("a", "second")
        assert [store.slot_owner(slot) for slot in "ab"] == ["second", "other"]

    def test_a_slot_that_nobody_has_is_held_by_the_first_who_asks(self, store: MemoryStore) -> None:
        first, second = Holder("first", "here"), Holder("second", "there")
        assert store.claim_slot("0", first, 60, member=False)
        assert not store.claim_slot("0", second, 60, member=False)
        assert store.claim_slot("1", second, 60, member=False)
        assert [store.keep_slot("0", holder, 60) for holder in (first, second)] == [True, False]

    def test_a_slot_whose_member_the_group_has_is_not_free(self, store: MemoryStore) -> None:
        """Its worker is of an older version that holds nothing, or has lost its hold with the store's contents."""
        assert not store.claim_slot("0", Holder("a"), 60, member=True)
        assert store.keep_slot("0", Holder("a"), 60)

    def test_a_slot_that_was_given_back_is_free_though_the_group_still_has_its_member(self, store: MemoryStore) -> None:
        first, second = Holder("first", "here"), Holder("second", "there")
        assert store.claim_slot("0", first, 60, member=False)
        store.give_slot_back("0", second, 60)
        assert not store.claim_slot("0", second, 60, member=True)
        store.give_slot_back("0", first, 60)
        assert store.claim_slot("0", second, 60, member=True)
        store.give_slot_back("0", first, 60)  # late: it is another's by now
        assert not store.claim_slot("0", first, 60, member=False)

    def test_who_holds_the_lock_of_a_holder_s_place_has_outlived_it(self, store: MemoryStore) -> None:
        assert store.claim_slot("0", Holder("killed", "here"), 60, member=False)
        assert store.claim_slot("1", Holder("elsewhere"), 60, member=False)
        assert store.claim_slot("0", Holder("next", "here"), 60, member=True)
        assert not store.claim_slot("1", Holder("next", ""), 60, member=False)

    def test_a_slot_that_is_not_held_on_expires(self, store: MemoryStore) -> None:
        assert store.claim_slot("0", Holder("gone", "there"), 0.05, member=False)
        time.sleep(0.2)
        assert not store.claim_slot("0", Holder("next"), 60, member=True)
        assert store.claim_slot("0", Holder("next"), 60, member=False)

    def test_who_takes_a_slot_by_name_ends_the_holding_of_another_start_and_not_its_own(
        self, store: MemoryStore
    ) -> None:
        first, second = Holder("first", "here"), Holder("second", "there")
        assert store.claim_slot("0", first, 60, member=False)
        store.take_slot("0", "first")
        assert not store.keep_slot("0", second, 60)
        store.take_slot("0", "second")
        assert store.keep_slot("0", second, 60)
        assert not store.keep_slot("0", first, 60)

    def test_no_two_starts_get_the_same_slot_at_the_same_instant(self, store: MemoryStore) -> None:
        got: list[str] = []
        gate = threading.Barrier(8)

        def start(number: int) -> None:
            gate.wait()
            holder = Holder(f"start{number}", f"place{number}")
            got.append(next(s for s in map(str, range(8)) if store.claim_slot(s, holder, 60, member=False)))

        threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == list("01234567")

    def test_ping_says_what_answers_in_one_line(self, store: MemoryStore) -> None:
        assert len(store.ping().splitlines()) == 1

    def test_it_does_what_a_dictionary_does(self, make_store: MakeStore) -> None:
        class Machine(StoreIsADictionary):
            new_store = staticmethod(make_store)

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


_PARTITIONS = st.integers(0, 2)
_USERS = st.sampled_from(["a", "b", "c", "a*"])
_OFFSETS = st.integers(0, 3) | st.sampled_from([64, 195, 2**32 - 1, 2**32, 2**64 - 1])
_RECORDS = st.lists(st.tuples(_USERS, st.builds(record, _OFFSETS, st.binary(max_size=2))), max_size=5)


class StoreIsADictionary(RuleBasedStateMachine):
    """Operation by operation beside plain dictionaries. `tokens`: all tokens that a partition ever had, newest last."""

    new_store: MakeStore

    def __init__(self) -> None:
        super().__init__()
        self.store = self.new_store()
        self.tokens: dict[int, list[int]] = {}
        self.floors: dict[int, int] = {}
        self.records: dict[tuple[int, str], bytes] = {}
        self.numbers: dict[str, int] = {}

    def teardown(self) -> None:
        self.store.close()

    @rule(partitions=st.sets(_PARTITIONS))
    def claim(self, partitions: set[int]) -> None:
        for partition, claim in self.store.claim(partitions).items():
            held = self.tokens.setdefault(partition, [])
            assert claim.floor == self.floors.get(partition)
            assert claim.token > max(held, default=0)
            held.append(claim.token)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), records=_RECORDS)
    def save(self, data: st.DataObject, records: list[tuple[str, bytes]]) -> None:
        partition, token, fresh = self._owner(data)
        if not fresh:
            self._refused(partition, token, lambda: self.store.save(partition, token, records))
            return
        expected = 0
        for user, blob in records:
            if blob[1:9] >= self.records.get((partition, user), b"")[1:9]:
                self.records[partition, user] = blob
                expected += 1
        assert self.store.save(partition, token, records) == expected

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), floor=st.integers(0, 12))
    def set_floor(self, data: st.DataObject, floor: int) -> None:
        partition, token, fresh = self._owner(data)
        if fresh:
            self.store.set_floor(partition, token, floor)
            self.floors[partition] = max(floor, self.floors.get(partition, 0))
        else:
            self._refused(partition, token, lambda: self.store.set_floor(partition, token, floor))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), users=st.lists(_USERS, min_size=1, max_size=5))
    def load(self, data: st.DataObject, users: list[str]) -> None:
        partition, token, fresh = self._owner(data)
        keys = [(partition, user) for user in users]
        if fresh:
            assert self.store.load({partition: token}, keys) == [self.records.get(key) for key in keys]
        else:
            self._refused(partition, token, lambda: self.store.load({partition: token}, keys))

    @rule(ids=st.lists(st.sampled_from("xyzuvw"), max_size=4))
    def number_items(self, ids: list[str]) -> None:
        for item in ids:
            self.numbers.setdefault(item, len(self.numbers) + 1)
        assert self.store.number_items(ids) == [self.numbers[item] for item in ids]
        assert self.store.item_ids(list(self.numbers.values())) == list(self.numbers)

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        assert {(p, user): blob for p, user, blob in self.store.scan()} == self.records

    def _owner(self, data: st.DataObject) -> tuple[int, int, bool]:
        """A partition, one of the tokens it ever had, and whether it is the current one (more often than not)."""
        partition = data.draw(st.sampled_from(sorted(self.tokens)))
        held = self.tokens[partition]
        token = data.draw(st.just(held[-1]) | st.sampled_from(held))
        return partition, token, token == held[-1]

    def _refused(self, partition: int, token: int, call: Callable[[], Any]) -> None:
        with pytest.raises(StaleToken) as refused:
            call()
        assert (refused.value.partition, refused.value.token) == (partition, token)
        assert refused.value.current == self.tokens[partition][-1]
