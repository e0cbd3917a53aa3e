"""User memories between device, host and store: who is asked first, what is owed, and what a change of line does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from structlog.testing import capture_logs

from model.user_table import UserTable
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.core.errors import StaleToken, Unavailable
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.core.offsets import Committed
from stream_worker.core.status import Memory
from stream_worker.loop.memories import Key, Memories

LAYOUT = MemoryFormat(ring_size=3, hidden=2, sets=1)
DEVICE_USERS = 4


class Store(InMemoryMemoryStore):
    """Notes the keys of every load; fails with what stands in `failures`, one a load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[list[Key]] = []
        self.failures: list[Exception] = []

    def load(self, tokens: Mapping[int, int], keys: Sequence[Key]) -> list[bytes | None]:
        if self.failures:
            raise self.failures.pop(0)
        self.loads.append(list(keys))
        return super().load(tokens, keys)


class Scene:
    """A device for four users in front of a store; partitions 0 and 1 are claimed."""

    def __init__(self, store: Store | None = None, line: str = "line", max_pending: int = 100) -> None:
        self.store = store or Store()
        self.table = UserTable(DEVICE_USERS, LAYOUT.ring_size, LAYOUT.hidden, torch.device("cpu"))
        self.rebuilt: list[int] = []
        self.counts = Memory()
        self.memories = Memories(self.store, self.table, self._rebuild, LAYOUT, max_pending, self.counts)
        self.memories.set_line(line)
        self.memories.claim({0: Committed(0), 1: Committed(0)})

    def _rebuild(self, slots: NDArray[np.int64]) -> None:
        """As the learner does: a state made anew from the ring. Here: its newest item's number."""
        self.rebuilt += slots.tolist()
        newest = torch.from_numpy(self.table.number_SL[slots, -1].astype(np.float32))
        self.table.put_state(slots, newest[:, None].expand(-1, 2), newest[:, None].expand(-1, 2))

    def recall(self, *users: str, partition: int = 0) -> list[int]:
        slots: list[int] = self.memories.recall([(partition, user) for user in users]).tolist()
        return slots

    def remember(self, user: str, next_offset: int, item: int, partition: int = 0) -> None:
        """One event of the user, as the learner leaves it on the device."""
        [slot] = self.recall(user, partition=partition)
        self.table.number_SL[slot] = [*self.table.number_SL[slot, 1:], item]
        self.table.events_S[slot] += 1
        self.table.next_offset_S[slot] = next_offset
        self.table.h_SH[slot] = next_offset
        self.table.dirty_S[slot] = True

    def seen(self, user: str, partition: int = 0) -> tuple[int, int, list[int], float]:
        """(n, events, ring, h) of a user, recalled."""
        [slot] = self.recall(user, partition=partition)
        t = self.table
        return int(t.next_offset_S[slot]), int(t.events_S[slot]), t.number_SL[slot].tolist(), float(t.h_SH[slot, 0])

    def write(self) -> dict[int, list[tuple[str, bytes]]]:
        """All that is owed goes to the store."""
        owed = self.memories.take_owed()
        for partition, records in owed.items():
            self.store.save(partition, self.memories.tokens[partition], records)
            self.memories.written(partition, records)
        return owed

    def crowd_out(self) -> None:
        """Fill the device with strangers, twice over."""
        for n in range(2 * DEVICE_USERS):
            self.recall(f"stranger{n}", partition=1)


def of(owed: Mapping[int, list[tuple[str, bytes]]]) -> dict[Key, int]:
    """The next offset of each record."""
    return {
        (partition, user): int(LAYOUT.decode([blob])["next_offset"][0])
        for partition, records in owed.items()
        for user, blob in records
    }


class TestRecall:
    def test_a_stranger_begins_with_nothing(self) -> None:
        assert Scene().seen("u") == (0, 0, [0, 0, 0], 0.0)

    def test_who_is_on_the_device_is_not_asked_for(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        asked = len(scene.store.loads)
        assert scene.seen("u") == (5, 1, [0, 0, 1], 5.0)
        assert len(scene.store.loads) == asked

    def test_a_batch_asks_once_for_all_who_are_missing_each_once(self) -> None:
        """Of two partitions, with repetitions, and nobody who is there already."""
        scene = Scene()
        scene.recall("here")
        scene.store.loads.clear()
        keys = [(0, "a"), (0, "here"), (1, "a"), (0, "a"), (0, "b"), (1, "a")]
        slots = scene.memories.recall(keys).tolist()
        assert scene.store.loads == [[(0, "a"), (1, "a"), (0, "b")]]
        assert scene.table.keys_of(np.array(slots)) == keys
        assert scene.counts.recall_misses == 1 + 3

    def test_a_batch_of_those_who_are_there_asks_nobody(self) -> None:
        scene = Scene()
        scene.recall("a", "b")
        scene.store.loads.clear()
        scene.recall("b", "a", "b")
        assert scene.memories.recall([]).tolist() == []
        assert scene.store.loads == []

    def test_who_left_the_device_comes_back_from_host_memory_while_the_store_is_behind(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        scene.write()
        scene.remember("u", 9, item=2)
        scene.crowd_out()
        scene.store.loads.clear()
        assert scene.seen("u") == (9, 2, [0, 1, 2], 9.0)
        assert scene.store.loads == []

    def test_who_left_the_device_and_is_written_comes_back_from_the_store(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        scene.write()
        scene.crowd_out()
        scene.store.loads.clear()
        assert scene.seen("u") == (5, 1, [0, 0, 1], 5.0)
        assert scene.store.loads == [[(0, "u")]]

    def test_a_user_of_two_partitions_has_two_memories(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1, partition=0)
        scene.remember("u", 7, item=2, partition=1)
        assert (scene.seen("u", 0)[:2], scene.seen("u", 1)[:2]) == ((5, 1), (7, 1))
        assert of(scene.memories.take_owed()) == {(0, "u"): 5, (1, "u"): 7}

    def test_a_store_that_does_not_answer_loses_nothing(self) -> None:
        """Who was to be spilled for the newcomers waits in host memory; the same recall goes through later."""
        scene = Scene()
        for n in range(DEVICE_USERS):
            scene.remember(f"u{n}", 10 + n, item=n + 1)
        scene.store.failures = [Unavailable("down"), Unavailable("down")]
        for _ in range(2):
            with pytest.raises(Unavailable):
                scene.recall("new", "newer")
        assert scene.table.keys_of(np.array(scene.recall("new", "newer"))) == [(0, "new"), (0, "newer")]
        assert of(scene.memories.take_owed()) == {(0, f"u{n}"): 10 + n for n in range(DEVICE_USERS)}
        assert [scene.seen(f"u{n}")[:2] for n in range(DEVICE_USERS)] == [(10 + n, 1) for n in range(DEVICE_USERS)]

    def test_a_partition_that_another_worker_has_claimed_is_refused(self) -> None:
        scene = Scene()
        scene.store.claim([0])
        with pytest.raises(StaleToken):
            scene.recall("u")


class TestSpill:
    def test_only_what_changed_is_owed(self) -> None:
        scene = Scene()
        scene.remember("changed", 5, item=1)
        scene.recall("looked-at")
        scene.crowd_out()
        assert scene.memories.pending() == 1
        assert of(scene.memories.take_owed()) == {(0, "changed"): 5}
        assert scene.counts.users_spilled > 2

    def test_any_number_of_users_goes_through_a_small_device(self) -> None:
        """Forty users in turn, three times over: each has exactly its own events at the end."""
        scene = Scene()
        users = [f"u{n}" for n in range(10 * DEVICE_USERS)]
        for turn in range(3):
            for n, user in enumerate(users):
                scene.remember(user, 100 * turn + n + 1, item=10 * n + turn + 1)
            if turn == 1:
                scene.write()
        assert len(scene.table) <= DEVICE_USERS
        for n, user in enumerate(users):
            assert scene.seen(user) == (201 + n, 3, [10 * n + 1, 10 * n + 2, 10 * n + 3], 201.0 + n)

    def test_more_users_in_a_batch_than_the_device_holds_is_said(self) -> None:
        with pytest.raises(ValueError, match="device_users"):
            Scene().recall(*(f"u{n}" for n in range(DEVICE_USERS + 1)))


class TestOwed:
    def test_what_is_owed_stays_until_it_is_written(self) -> None:
        """A write that failed is owed again, with nothing lost."""
        scene = Scene()
        scene.remember("u", 5, item=1)
        first = scene.memories.take_owed()
        assert scene.memories.take_owed() == first
        scene.memories.written(0, first[0])
        assert scene.memories.take_owed() == {}
        assert scene.memories.pending() == 0

    def test_what_changes_while_it_is_written_is_owed_again(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        scene.remember("v", 6, item=1)
        in_flight = scene.memories.take_owed()
        scene.remember("u", 9, item=2)
        newer = scene.memories.take_owed()
        assert of(newer) == {(0, "u"): 9, (0, "v"): 6}
        scene.memories.written(0, in_flight[0])
        assert of(scene.memories.take_owed()) == {(0, "u"): 9}

    def test_what_changes_and_is_spilled_while_it_is_written_is_owed_again(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        in_flight = scene.memories.take_owed()
        scene.remember("u", 9, item=2)
        scene.crowd_out()
        scene.memories.written(0, in_flight[0])
        assert scene.seen("u")[:2] == (9, 2)
        assert of(scene.memories.take_owed()) == {(0, "u"): 9}

    def test_a_user_in_flight_is_recalled_from_host_memory(self) -> None:
        """The store may not have it yet, or never get it."""
        scene = Scene()
        scene.remember("u", 5, item=1)
        scene.memories.take_owed()
        scene.crowd_out()
        assert scene.seen("u") == (5, 1, [0, 0, 1], 5.0)

    def test_written_counts_only_for_its_own_partition(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1, partition=0)
        scene.remember("u", 5, item=1, partition=1)
        owed = scene.memories.take_owed()
        scene.memories.written(1, owed[1])
        assert of(scene.memories.take_owed()) == {(0, "u"): 5}

    def test_at_its_bound_it_is_full_until_it_is_written(self) -> None:
        scene = Scene(max_pending=3)
        for n in range(3):
            assert not scene.memories.full()
            scene.remember(f"u{n}", n + 1, item=1)
            scene.memories.take_owed()
        assert scene.memories.full()
        scene.write()
        assert not scene.memories.full()


class TestDrop:
    def test_a_dropped_partition_is_forgotten_and_the_other_is_not(self) -> None:
        """On the device, in host memory and among the tokens; what is in the store stays."""
        scene = Scene()
        scene.remember("u", 5, item=1, partition=0)
        scene.write()
        scene.remember("u", 8, item=2, partition=0)
        scene.remember("u", 6, item=1, partition=1)
        scene.memories.take_owed()
        scene.remember("u", 9, item=3, partition=0)
        scene.memories.drop([0])
        assert of(scene.memories.take_owed()) == {(1, "u"): 6}
        assert set(scene.memories.tokens) == {1}
        scene.memories.claim({0: Committed(0)})
        assert scene.seen("u", 0)[:3] == (5, 1, [0, 0, 1])
        assert scene.seen("u", 1)[:3] == (6, 1, [0, 0, 1])

    def test_a_write_of_the_former_ownership_settles_nothing_of_the_new_one(self) -> None:
        scene = Scene()
        scene.remember("u", 5, item=1)
        former = scene.memories.take_owed()
        scene.memories.drop([0])
        scene.memories.claim({0: Committed(0)})
        scene.remember("u", 5, item=1)
        scene.memories.take_owed()
        scene.memories.written(0, former[0])
        assert of(scene.memories.take_owed()) == {(0, "u"): 5}

    def test_dropping_all_or_nothing_is_no_special_case(self) -> None:
        scene = Scene()
        scene.memories.drop([])
        scene.memories.drop([0, 1, 7])
        assert scene.memories.tokens == {}
        assert len(scene.table) == 0

    def test_claiming_tells_the_floors(self) -> None:
        scene = Scene()
        scene.store.set_floor(1, scene.memories.tokens[1], 30)
        assert scene.memories.claim({0: Committed(0), 1: Committed(0)})[1].floor == 30


class TestLines:
    def foreign_store(self) -> Store:
        """Two users remembered by another line, and one by this one."""
        store = Store()
        theirs, ours = Scene(store, "theirs"), Scene(store, "ours")
        theirs.memories.claim({0: Committed(0)})
        theirs.remember("a", 5, item=3)
        theirs.remember("b", 6, item=4)
        theirs.write()
        ours.memories.claim({0: Committed(0)})
        ours.remember("c", 7, item=5)
        ours.write()
        return store

    def test_states_of_another_line_are_rebuilt_and_only_those(self) -> None:
        scene = Scene(self.foreign_store(), "ours")
        a, _stranger, c, b = scene.recall("a", "stranger", "c", "b")
        assert sorted(scene.rebuilt) == sorted([a, b])
        assert [float(h) for h in scene.table.h_SH[[a, b, c], 0]] == [3.0, 4.0, 7.0]

    def test_counters_and_rings_of_another_line_are_kept(self) -> None:
        assert Scene(self.foreign_store(), "ours").seen("a") == (5, 1, [0, 0, 3], 3.0)

    def test_what_a_line_wrote_itself_is_never_rebuilt(self) -> None:
        scene = Scene(self.foreign_store(), "theirs")
        scene.recall("a", "b")
        assert scene.rebuilt == []
        assert scene.seen("a") == (5, 1, [0, 0, 3], 5.0)

    def test_a_rebuilt_user_who_goes_on_is_this_lines_from_then_on(self) -> None:
        store = self.foreign_store()
        first = Scene(store, "ours")
        first.remember("a", 9, item=8)
        first.write()
        again = Scene(store, "ours")
        assert again.seen("a") == (9, 2, [0, 3, 8], 9.0)
        assert again.rebuilt == []

    def test_a_record_of_other_sizes_is_rebuilt_too(self) -> None:
        """Whichever line it names: its state is not there."""
        scene = Scene()
        other = MemoryFormat(ring_size=5, hidden=7).empty(1)
        other["line"], other["next_offset"], other["number"][0, -1] = scene.memories.line, 4, 6
        scene.store.save(0, scene.memories.tokens[0], [("u", other.tobytes())])
        assert scene.seen("u") == (4, 0, [0, 0, 6], 6.0)
        assert len(scene.rebuilt) == 1


class TestAncestors:
    def scene(self, line: str) -> Scene:
        scene = Scene(line="ours")
        record = LAYOUT.empty(1)
        parent = Memories(scene.store, scene.table, lambda _: None, LAYOUT, 1, Memory())
        parent.set_line(line)
        record["line"], record["next_offset"], record["events"], record["ts"] = parent.line, 77, 12, 5.0
        record["number"], record["h"] = [1, 2, 3], 0.5
        scene.memories.ancestors = {"u": record.tobytes()}
        return scene

    def test_an_unknown_user_begins_as_the_ancestor_with_counters_at_zero(self) -> None:
        """In every partition: n of another source means nothing here."""
        scene = self.scene("ours")
        assert scene.seen("u", 0) == scene.seen("u", 1) == (0, 0, [1, 2, 3], 0.5)
        assert scene.rebuilt == []
        assert scene.seen("other") == (0, 0, [0, 0, 0], 0.0)

    def test_an_ancestor_of_another_line_is_rebuilt(self) -> None:
        scene = self.scene("theirs")
        assert scene.seen("u") == (0, 0, [1, 2, 3], 3.0)
        assert len(scene.rebuilt) == 1

    def test_who_has_a_record_of_its_own_does_not_look_back(self) -> None:
        scene = self.scene("ours")
        scene.remember("u", 5, item=9)
        scene.write()
        scene.crowd_out()
        assert scene.seen("u")[:3] == (5, 1, [2, 3, 9])


def test_the_number_of_a_line_is_the_same_in_every_process_and_never_zero() -> None:
    """Zero marks a state that fits no line."""
    lines = [Scene(line=name).memories.line for name in ("0-5f3a90c1", "0-5f3a90c2", "")]
    assert lines[0] == 4_006_312_364_623_538_318
    assert len(set(lines)) == 3
    assert all(0 < line < 2**64 for line in lines)


class TestUnreadableRecords:
    """Of a version to come, cut off, or somebody else's."""

    def test_their_users_are_taken_for_new_ones_and_written_anew(self) -> None:
        scene = Scene()
        scene.remember("good", 5, item=1)
        scene.write()
        token = scene.memories.tokens[0]
        scene.store.save(0, token, [("later", b"\x07" + bytes(40)), ("short", b"xy")])
        fresh = Scene(scene.store)
        with capture_logs() as lines:
            assert fresh.seen("later") == fresh.seen("short") == (0, 0, [0, 0, 0], 0.0)
        assert fresh.seen("good")[0] == 5
        assert fresh.counts.unreadable_records == 2
        assert [(line["user"], line["partition"]) for line in lines] == [("later", 0), ("short", 0)]
        assert all("expected version" in line["reason"] for line in lines)
        fresh.remember("later", 9, item=3)
        fresh.write()
        again = Scene(scene.store)
        assert again.seen("later")[0] == 9
        assert again.counts.unreadable_records == 0

    def test_one_in_another_partition_is_passed_over(self) -> None:
        scene = Scene()
        scene.store.save(1, scene.memories.tokens[1], [("u", b"\x07" + bytes(40))])
        slots = scene.memories.recall([(0, "u")], moved_from=[0, 1])
        assert scene.table.events_S[slots].tolist() == [0]
        assert scene.counts.unreadable_records == 1
