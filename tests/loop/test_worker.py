"""The loop on twins: contract 1 for every list, and the order of contract 2, whatever dies or fails where."""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any
from unittest import mock
from uuid import uuid4

import numpy as np
import pytest
from structlog.testing import capture_logs

from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.core.decoder import Decoder
from stream_worker.core.effort import Effort, EffortConfig
from stream_worker.core.errors import RestartNeeded, SlotTaken, TransactionAborted, Unavailable
from stream_worker.core.events import SCORE_DIGITS
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.mapping.config import EventsConfig, TypeConfig
from stream_worker.core.memory_record import header_of
from stream_worker.core.source_id import SourceId
from tests.support.redis_services import RedisCluster, wait_until
from tests.support.worker_world import BATCH, SETTINGS, Durable, Killed, Redis, Run, Traps, Twin, World


@pytest.fixture
def world() -> World:
    return World()


class TestEffort:
    def test_behind_less_is_learned_from_and_nothing_is_lost(self, world: World) -> None:
        """Every event is remembered and stands in a list; the monitor sees fewer of them."""
        world.send_many(400)
        world.clock.monotonic = map(float, count()).__next__  # type: ignore[method-assign]  # every step takes a second
        run = world.worker(effort=Effort(EffortConfig(most_thinning=8, learn_backlog=0), follows=True))
        efforts = []
        for _ in range(6):
            run.tick()
            efforts.append(run.worker.status.learning.effort)
        assert efforts == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 8, 1 / 8]
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 400
        assert 0 < run.worker.line.monitor.events < 200

    def _slow(self, world: World) -> None:
        """Every step takes a second, so that any backlog is behind."""
        world.clock.monotonic = map(float, count()).__next__  # type: ignore[method-assign]

    def _following(self, **settings: int) -> Effort:
        return Effort(EffortConfig(most_thinning=8, **settings), follows=True)

    def test_a_first_start_learns_from_all_of_its_backlog(self, world: World) -> None:
        """The line is, to the bit, the one that a worker makes that never thins; so its hit rate is no lower."""
        world.send_many(300)
        twin = World()
        twin.send_many(300)
        self._slow(world)
        run = world.worker(effort=self._following(learn_backlog=1_000))
        full = twin.worker(effort=Effort(EffortConfig(most_thinning=1), follows=False))
        for each in (run, full):
            each.to_the_end()
        ours, theirs = (each.worker.line.learner.state_dict()[0] for each in (run, full))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours)
        measured, in_full = (each.worker.line.monitor.report().all.total for each in (run, full))
        assert measured == in_full
        assert measured.events > 200

    def test_of_a_longer_backlog_the_newest_records_are_learned_from_in_full(self, world: World) -> None:
        world.send_many(400)
        self._slow(world)
        run, efforts = world.worker(effort=self._following(learn_backlog=100)), list[tuple[int, float]]()
        while not efforts or efforts[-1][0]:
            run.tick()
            efforts.append((sum(run.worker.status.consuming.lag.values()), run.worker._pacing.effort.thinning))
        assert {thinning for lag, thinning in efforts if lag <= 100} == {1}
        assert max(thinning for lag, thinning in efforts if lag > 100) == 8
        run.finish()
        assert run.learned == 400

    @pytest.mark.parametrize(("backlog", "said"), [(1_000, "what is unread is less than a batch"), (20, "ends behind")])
    def test_the_log_says_which_end_a_first_start_has_come_to(
        self, backlog: int, said: str, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It hardly ever comes to a moment in which nothing is unread."""
        world.send_many(24)
        self._slow(world)
        run = world.worker(effort=self._following(learn_backlog=backlog))
        while run.worker._pacing.effort.catch_up_left:
            run.tick()
            if backlog == 20:  # more than a batch stays unread, and less than the backlog
                world.send_many(max(0, 22 - sum(run.worker.status.consuming.lag.values())))
        run.close()
        assert [line for line in "".join(capsys.readouterr()).splitlines() if "first catch-up" in line and said in line]

    def test_once_caught_up_it_thins_as_ever(self, world: World) -> None:
        world.send_many(40)
        self._slow(world)
        run = world.worker(effort=self._following(learn_backlog=1_000))
        for _ in range(6):
            run.tick()
        assert run.worker._pacing.effort.catch_up_left == 0
        world.send_many(100)
        run.tick(3)
        assert run.worker._pacing.effort.thinning == 8
        run.close()

    @pytest.mark.parametrize("kind", [Twin, Durable])
    def test_a_restart_in_the_middle_of_a_first_start_goes_on_with_it(self, kind: type[Any]) -> None:
        world = World(kind)
        world.send_many(300)
        self._slow(world)
        first = world.worker(effort=self._following(learn_backlog=1_000))
        first.tick(5)
        first.finish()
        second = world.worker(effort=self._following(learn_backlog=1_000))
        left = second.worker._pacing.effort.catch_up_left
        assert 2_000 - 5 * BATCH <= left < 2_000
        second.tick(4)
        assert second.worker._pacing.effort.thinning == 1
        second.to_the_end()
        world.check_contract_1()

    def test_a_line_that_starts_from_a_checkpoint_thins(self, world: World) -> None:
        """Whose first catch-up was over when it was written."""
        world.send_many(40)
        self._slow(world)
        world.worker(effort=self._following(learn_backlog=1_000)).to_the_end()
        world.topic.ended = False
        world.send_many(200)
        run = world.worker(effort=self._following(learn_backlog=1_000))
        run.tick(3)
        assert run.worker._pacing.effort.thinning == 8
        run.close()

    def test_a_batch_is_never_larger_than_what_fits(self, world: World) -> None:
        """Neither its users nor its new items may push each other out."""
        world.send_many(200)
        run = world.worker(effort=Effort(EffortConfig(thinning=8), follows=False))
        assert SETTINGS.memory.device_users == 2 * BATCH
        run.tick()
        assert run.worker.status.consuming.records == BATCH
        run.close()


class TestLists:
    def test_a_tick_makes_one_list_for_each_touched_user_of_each_partition(self, world: World) -> None:
        """With the number of its events in the tick, the place and time of the last, and all request ids."""
        for user, partition, request in (("a", 0, "r1"), ("b", 0, None), ("a", 0, "r2"), ("a", 1, None)):
            world.send(user, f"item of {user}", partition, request_id=request)
        run = world.worker()
        run.tick()
        lists = {(r.user, r.partition): r for r in world.topic.outputs.recommendations}
        assert len(world.topic.outputs.recommendations) == 3
        assert {key: (r.next_offset, r.events) for key, r in lists.items()} == {
            ("a", 0): (3, 2), ("b", 0): (2, 1), ("a", 1): (1, 1),
        }  # fmt: skip
        assert (list(lists["a", 0].request_ids), list(lists["b", 0].request_ids)) == (["r1", "r2"], [])
        assert lists["a", 0].ts == 1_700_000_002
        assert all((r.line, r.step) == ("0-1", run.worker.line.learner.steps) for r in lists.values())
        run.close()

    def test_a_list_names_items_that_were_seen_best_first_and_none_twice(self, world: World) -> None:
        world.send_many(60)
        world.worker().to_the_end()
        for made in world.topic.outputs.recommendations:
            assert len(made.items) == len(set(made.items)) == len(made.scores) <= 5
            assert list(made.scores) == sorted(made.scores, reverse=True)
            assert list(made.scores) == [round(score, SCORE_DIGITS) for score in made.scores]
            assert set(made.items) <= {f"i{n}" for n in range(13)}
        assert len(world.topic.outputs.recommendations[-1].items) == 5

    def test_every_event_is_counted_in_one_list_and_every_bad_record_set_aside_once(self, world: World) -> None:
        world.send_many(100)
        run = world.worker()
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 100
        status = run.worker.status
        counts, takeovers = status.consuming, status.takeovers
        assert (counts.records, counts.events) == (100 + len(world.bad()), 100)
        assert (takeovers.overlap, takeovers.unlearned) == (0, 0)
        assert sum(status.consuming.dead_letters.values()) == len(world.bad())

    def test_a_tick_of_bad_records_alone_moves_on(self, world: World) -> None:
        for _ in range(3):
            world.send_bad(1)
        run = world.worker()
        run.tick()
        world.check_contract_1()
        assert world.topic.committed == {0: 0, 1: 3}
        assert run.store.claim([1])[1].floor == 3
        run.close()

    def test_an_idle_tick_publishes_nothing(self, world: World) -> None:
        run = world.worker()
        run.tick(3)
        assert run.sink.transactions == []
        run.close()

    def test_more_users_than_the_device_holds_are_counted_too(self, world: World) -> None:
        """They go through the store and back."""
        world.send_many(200, users=71)
        run = world.worker()
        run.to_the_end()
        assert run.worker.status.memory.users_spilled > 100
        world.check_contract_1()
        world.check_memories(run.store)


class TestOrder:
    def test_it_is_y_then_l_then_records_then_m(self, world: World) -> None:
        world.send("a", "x", 0)
        run = world.worker()
        run.tick()
        written = [step for step in run.traps.steps if step in ("Y", "L", "records", "M")]
        assert written == ["M", "M", "Y", "L", "records", "M", "M"]  # the first two: where each partition begins
        run.close()

    def test_floors_and_checkpoint_stand_where_the_published_offset_does(self, world: World) -> None:
        world.send_many(40)
        run = world.worker()
        for _ in range(4):
            run.tick()
            snapshot = run.checkpoints.load_newest()
            assert snapshot is not None
            learned = {int(p): offset for p, offset in snapshot.meta["offsets"].items()}
            for partition, claim in {p: run.store._floors.get(p) for p in (0, 1)}.items():
                assert claim == learned.get(partition, 0) == world.topic.committed[partition]
        run.close()

    def test_a_snapshot_stays_as_it_was_while_the_loop_goes_on(self, world: World) -> None:
        """States are the arrays that are worked on; what is written in the background may not be."""
        world.send_many(400)
        run = world.worker(checkpoint_seconds=math.inf)
        run.tick(12)
        taken = run.worker.line.snapshot(SourceId("events"), {}, run.store.state_dict())
        before = copy.deepcopy(taken.arrays)
        run.tick(12)
        went_on = run.worker.line.learner.state_dict()[0]
        assert all(np.array_equal(before[name], array, equal_nan=True) for name, array in taken.arrays.items())
        changed = [name for name, array in went_on.items() if not np.array_equal(before[f"learner.{name}"], array)]
        assert {name.split(".")[0] for name in changed} >= {"catalog", "items", "counting", "encoder", "ranker"}
        assert "encoder_trainer.replay.target" in changed

    def test_without_anything_new_nothing_is_written_again(self, world: World) -> None:
        world.send("a", "x", 0)
        run = world.worker()
        run.tick()
        steps = len(run.traps.steps)
        run.tick(3)
        assert len(run.traps.steps) == steps
        run.close()

    def test_a_checkpoint_that_failed_is_written_at_the_next_tick_though_nothing_is_new(self, world: World) -> None:
        """Until then no record goes to the store: n would be above L."""
        world.send("a", "x", 0)
        run = world.worker(traps=Traps(failures={"L": [Unavailable("disk full")]}))
        run.tick()
        assert list(run.store.scan()) == []
        assert run.worker.status.checkpoints.failures == 1
        run.tick()
        world.check_memories(run.store)
        run.close()

    def test_a_floor_that_failed_is_written_at_the_next_tick_though_no_record_is_owed(self, world: World) -> None:
        """Here all were bad: the floor is what keeps them from being read again."""
        world.send_bad(0)
        run = world.worker(traps=Traps(failures={"M": [Unavailable("down")]}))
        run.tick()
        assert run.store._floors == {}
        run.tick()
        assert run.store._floors == {0: 1, 1: 0}
        run.close()


STEPS = ("transaction", "Y", "L", "records", "M")


def kinds(*names: str) -> pytest.MarkDecorator:
    marks = {"redis": pytest.mark.redis}
    return pytest.mark.parametrize("kind", [pytest.param(name, marks=marks.get(name, ())) for name in names])


@pytest.fixture
def make_world(request: pytest.FixtureRequest) -> Callable[[str], World]:
    def make(kind: str) -> World:
        if kind == "redis":
            return World(Redis, url=request.getfixturevalue("redis_url"), group=uuid4().hex)
        return World({"twin": Twin, "durable": Durable}[kind])

    return make


def run_into(run: Run) -> bool:
    """Whether the worker died on its way to the end."""
    try:
        run.to_the_end()
    except Killed:
        return True
    return False


class TestKilled:
    """Before Y: "transaction"; after Y, after L, after the records of a partition, after a floor: by their names."""

    @kinds("twin", "durable")
    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("count", range(1, 7))
    def test_at_any_step_of_any_tick_every_event_counts_once(
        self, make_world: Callable[[str], World], kind: str, step: str, count: int
    ) -> None:
        """In the lists, in the memories and in the weights; nothing is left out of the line either."""
        world = make_world(kind)
        world.send_many(50)
        assert run_into(world.worker(traps=Traps({step: count})))
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)
        assert (last.learned, last.worker.status.takeovers.unlearned) == (50, 0)

    @pytest.mark.redis
    @pytest.mark.parametrize("step", STEPS)
    def test_with_a_real_redis_too(self, make_world: Callable[[str], World], step: str) -> None:
        world = make_world("redis")
        world.send_many(50)
        assert run_into(world.worker(traps=Traps({step: 3})))
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)
        assert last.learned == 50
        world.shared.close()

    @kinds("twin", "durable")
    def test_again_and_again_it_comes_to_the_end(self, make_world: Callable[[str], World], kind: str) -> None:
        """Each start dies a step further in another order of writing than the one before."""
        world = make_world(kind)
        world.send_many(300)
        deaths = 0
        for start in range(200):
            if not run_into(world.worker(traps=Traps({STEPS[start % 5]: 2 + start % 3}))):
                break
            deaths += 1
        assert deaths > 15
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)
        assert last.learned == 300

    @kinds("twin", "durable")
    def test_between_y_and_l_is_relearned_and_counted_as_overlap(
        self, make_world: Callable[[str], World], kind: str
    ) -> None:
        world = make_world(kind)
        world.send_many(4)
        assert run_into(world.worker(traps=Traps({"Y": 1})))
        last = world.worker()
        last.to_the_end()
        assert last.worker.status.takeovers.overlap == 4
        assert last.sink.transactions == []

    def test_the_line_goes_on_under_its_name_and_steps(self, world: World) -> None:
        world.send_many(20)
        first = world.worker()
        first.to_the_end()
        world.send_many(20)
        second = world.worker()
        second.to_the_end()
        assert {r.line for r in world.topic.outputs.recommendations} == {"0-1"}
        steps = [r.step for r in world.topic.outputs.recommendations]
        assert steps == sorted(steps)
        assert second.learned == 40
        assert second.worker.status.learning.steps < second.worker.line.learner.steps

    def test_an_older_checkpoint_leaves_a_gap_that_is_counted(self, world: World) -> None:
        """The newest was torn: what is remembered past the older one is not learned again, and it is said."""
        world.send_many(8)
        first = world.worker()
        first.tick()
        older = world.checkpoints["0"].load_newest()
        first.to_the_end()
        assert older is not None
        world.checkpoints["0"].save(older)
        world.send_many(20)
        second = world.worker()
        second.to_the_end()
        world.check_contract_1()
        world.check_memories(second.store)
        missing = 28 - second.learned
        assert missing > 0
        assert missing <= second.worker.status.takeovers.unlearned <= missing + len(world.bad())

    def test_without_any_checkpoint_memories_are_kept_and_the_line_begins_anew(self, world: World) -> None:
        world.send_many(16)
        world.worker().to_the_end()
        world.checkpoints.clear()
        world.send_many(16)
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)
        assert last.learned == 16

    def test_a_store_that_was_wiped_is_filled_again_from_the_log(self) -> None:
        """Nothing is published or learned a second time."""
        world = World()
        world.send_many(30)
        world.worker().to_the_end()
        world.shared = Durable(SETTINGS.memory)
        world.send_many(10)
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)
        assert last.learned == 40


class TestFailures:
    def test_an_aborted_transaction_is_sent_again_and_published_once(self, world: World) -> None:
        world.send_many(BATCH)
        run = world.worker(traps=Traps(failures={"Y": [TransactionAborted("one"), TransactionAborted("two")]}))
        run.tick()
        assert len(run.sink.transactions) == 1
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.worker.status.publishing.transactions_aborted == 2
        assert run.learned == BATCH

    def test_one_that_is_aborted_for_ever_asks_for_a_new_process(self, world: World) -> None:
        world.send_many(4)
        run = world.worker(traps=Traps(failures={"Y": [TransactionAborted("again")] * 100}))
        with pytest.raises(RestartNeeded, match="30 times"):
            run.tick()
        assert world.topic.outputs.recommendations == []
        run.close()

    @pytest.mark.parametrize("step", ["load", "number_items", "Y", "claim"])
    def test_what_does_not_answer_in_the_middle_of_a_tick_is_waited_for(self, world: World, step: str) -> None:
        """The same batch goes on, nothing of it twice."""
        world.send_many(40)
        run = world.worker(traps=Traps(failures={step: [Unavailable("down")] * 3}))
        run.to_the_end()
        assert world.pauses == 3
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 40
        takeovers = run.worker.status.takeovers
        assert (run.worker.status.consuming.events, takeovers.unlearned, takeovers.overlap) == (40, 0, 0)

    @pytest.mark.parametrize("step", ["L", "records", "M"])
    def test_a_write_that_fails_is_made_up_for(self, world: World, step: str) -> None:
        world.send_many(40)
        run = world.worker()
        run.tick()
        run.traps.failures = {step: [Unavailable("down")] * 3}
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.worker.status.checkpoints.failures == 3
        assert run.worker.status.memory.rows_pending == 0

    def test_too_much_that_is_owed_stops_reading_until_it_is_written(self, world: World) -> None:
        world.send_many(24)
        run = world.worker(traps=Traps(failures={"records": [Unavailable("down")] * 5}), max_pending=2)
        run.tick()
        assert run.worker.status.consuming.records == BATCH
        assert run.worker._memories.pending() < 2
        assert world.pauses == 5
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)

    def test_a_stop_while_the_store_is_down_leaves_the_batch_to_the_next_start(self, world: World) -> None:
        world.send_many(12)

        def stop(_: float) -> None:
            run.worker.request_stop()

        run = world.worker(traps=Traps(failures={"load": [Unavailable("down")] * 9}), pause=stop)
        run.worker.run()
        assert world.topic.outputs.recommendations == []
        last = world.worker()
        last.to_the_end()
        world.check_contract_1()
        world.check_memories(last.store)

    def test_a_second_start_of_the_slot_ends_the_first(self, world: World) -> None:
        world.send_many(20)
        first = world.worker()
        first.tick()
        second = world.worker()
        with pytest.raises(SlotTaken):
            first.tick()
        first.close()
        second.to_the_end()
        world.check_contract_1()
        world.check_memories(second.store)


def fleet(world: World) -> tuple[Run, Run]:
    """Two workers, with one partition each."""
    first, second = world.worker("a"), world.worker("b")
    for _ in range(2):
        first.tick()
        second.tick()
    return first, second


class TestPartitionsThatMove:
    def test_a_released_partition_is_written_in_order_and_forgotten(self, world: World) -> None:
        first, second = fleet(world)
        [mine] = first.worker._offsets.owned()
        world.send_many(10)
        first.worker._persistence.checkpointer._interval_seconds = 1e9
        first.tick()
        assert list(first.store.scan()) == []
        first.traps.steps.clear()
        first.store.traps = first.traps
        world.topic.rebalance({mine: second.source, 1 - mine: second.source})
        first.tick()
        assert [step for step in first.traps.steps if step != "claim"][:3] == ["L", "records", "M"]
        assert first.worker._offsets.owned() == []
        assert len(first.worker.line.learner.users) == first.worker._memories.pending() == 0
        second.to_the_end()
        world.check_contract_1()
        world.check_memories(second.store)
        first.close()

    def test_a_lost_partition_is_forgotten_and_nothing_is_written(self, world: World) -> None:
        """Nor published: its new owner does it all again from M."""
        first, second = fleet(world)
        world.send_many(10)
        first.worker._persistence.checkpointer._interval_seconds = 1e9
        first.tick()
        world.topic.lose(first.source, second.source)
        first.store.traps = first.traps
        first.traps.steps.clear()
        first.tick()
        assert first.traps.steps == []
        assert first.worker._offsets.owned() == []
        assert list(first.store.scan()) == []
        second.to_the_end()
        world.check_contract_1()
        world.check_memories(second.store)
        first.close()

    def test_a_partition_that_leaves_during_an_abort_takes_its_outputs_along(self, world: World) -> None:
        """What is still owned is published by the same worker, the rest by the next owner."""
        world.send_many(6)
        first = world.worker("a")
        joined: list[Run] = []

        def join_and_abort(*args: Any) -> None:
            if joined:
                commit(*args)
            else:
                joined.append(world.worker("b"))
                raise TransactionAborted("rebalance")

        commit = first.sink.commit
        with mock.patch.object(first.sink, "commit", join_and_abort):
            first.tick()
        [transaction] = first.sink.transactions
        kept = first.worker._offsets.owned()
        assert len(kept) == 1
        assert {r.partition for r in transaction.recommendations} == set(kept)
        assert {d.record.partition for d in transaction.dead_letters} <= set(kept)
        [second] = joined
        while sum(world.topic.committed.values()) < sum(map(len, world.topic.partitions)):
            second.tick()
        world.check_contract_1()
        first.close()
        second.close()

    def test_two_workers_that_swap_their_partitions_all_the_time_count_every_event_once(self, world: World) -> None:
        """In good order, by loss, with events coming in between; both lines learn what they own."""
        first, second = fleet(world)
        runs = [first, second]
        for turn in range(12):
            world.send_many(9, users=7)
            runs[turn % 2].tick()
            if turn % 4 == 3:
                world.topic.lose(runs[0].source, runs[1].source)
                runs[1].tick()
                runs[0].tick()
            owners = {0: runs[turn % 2].source, 1: runs[(turn + 1) % 2].source}
            world.topic.rebalance(owners)
            for run in (*runs, *runs):
                run.tick()
        while sum(world.topic.committed.values()) < sum(map(len, world.topic.partitions)):
            for run in runs:
                run.tick()
        for run in runs:
            run.finish()
        world.check_contract_1()
        world.check_memories(world.shared)
        assert first.learned > 20
        assert second.learned > 20

    def test_a_killed_worker_is_taken_over_by_another_slot(self, world: World) -> None:
        """Another line: states are rebuilt, counters go on."""
        world.send_many(30)
        first = world.worker("a", traps=Traps({"records": 3}))
        assert run_into(first)
        first.source.close()
        second = world.worker("b")
        memories = second.worker._memories
        with mock.patch.object(memories, "_rebuild", side_effect=memories._rebuild) as rebuilt:
            second.to_the_end()
        assert rebuilt.called
        assert memories.line != first.worker._memories.line
        world.check_contract_1()
        world.check_memories(second.store)


class TestOtherSources:
    def snapshot(self) -> Snapshot:
        history = World(Twin)
        history.topic.name = "a recorded log"
        history.send_many(30)
        history.worker("h").to_the_end()
        found = history.checkpoints["h"].load_newest()
        assert found is not None
        return found

    def test_what_was_learned_elsewhere_is_kept_and_its_offsets_are_not(self, world: World) -> None:
        world.checkpoints["0"].save(self.snapshot())
        world.send_many(20)
        run = world.worker()
        run.to_the_end()
        world.check_contract_1()
        world.check_memories(run.store)
        assert run.learned == 50
        assert {r.line for r in world.topic.outputs.recommendations} == {"0-1"}

    def test_another_slots_checkpoint_gives_its_weights_to_a_line_of_another_name(self, world: World) -> None:
        world.send_many(20)
        world.worker("a").to_the_end()
        parent = world.checkpoints["a"].load_newest()
        assert parent is not None
        world.checkpoints["b"].save(parent)
        world.send_many(20)
        child = world.worker("b", own=False)
        child.to_the_end()
        world.check_contract_1()
        world.check_memories(child.store)
        assert child.learned == 40
        assert Counter(r.line for r in world.topic.outputs.recommendations).keys() == {"a-1", "b-1"}


def test_the_same_log_gives_the_same_lists_whatever_store_is_behind() -> None:
    """Spilled and resident users compute the same."""
    made = []
    for kind in (Twin, Durable):
        world = World(kind)
        world.send_many(120, users=41)
        world.worker().to_the_end()
        made.append(
            [(r.user, r.next_offset, tuple(r.items), tuple(r.scores)) for r in world.topic.outputs.recommendations]
        )
    assert made[0] == made[1]


def test_a_start_without_a_checkpoint_says_so_where_the_group_has_published() -> None:
    """A checkpoint folder that is looked for in the wrong place would be lost without a word."""
    world = World(Durable)
    world.send_many(20)
    with capture_logs() as first:
        world.worker().to_the_end()
    with capture_logs() as second:
        world.worker().to_the_end()
    with capture_logs() as elsewhere:
        world.worker(slot="1").to_the_end()
    said = [sum("without a checkpoint" in line["event"] for line in lines) for lines in (first, second, elsewhere)]
    assert said == [0, 0, 1]


def test_a_restart_from_the_twins_checkpoint_has_the_memories_it_had() -> None:
    world = World(Twin)
    world.send_many(40)
    first = world.worker()
    first.to_the_end()
    second = world.worker()
    assert isinstance(second.store, InMemoryMemoryStore)
    assert sorted(second.store.scan()) == sorted(first.store.scan())
    world.check_memories(second.store)
    second.close()


@pytest.mark.parametrize("kind", [Twin, Durable])
def test_stopped_while_the_brokers_are_away_nothing_is_written_past_what_was_published(
    kind: type[InMemoryMemoryStore],
) -> None:
    """The batch that could not be published is done again by the next start: L, records and M stay behind Y."""
    world = World(kind)
    world.send_many(40)
    run = world.worker(traps=Traps(failures={"Y": [Unavailable("brokers down")] * 500}))
    wait = run.worker._waiting.pause

    def wait_and_stop(seconds: float) -> None:
        wait(seconds)
        if not run.worker.stopping:
            run.worker.request_stop()

    run.worker._waiting.pause = wait_and_stop
    run.worker.run()
    # Each partition's first M, from before anything was read.
    assert [step for step in run.traps.steps if step in "LM"] == ["M", "M"]
    world.worker().to_the_end()
    world.check_contract_1()


@pytest.mark.redis
class TestOnARedisCluster:
    """Memories on three masters, one of which fails half way."""

    def test_every_event_counts_once_over_a_failover(self, redis_cluster: RedisCluster) -> None:
        world = World(Redis, url=redis_cluster.url, group=uuid4().hex)
        world.send_many(50)
        run = world.worker(pause=lambda seconds: time.sleep(0.2))
        run.tick(3)
        victim = redis_cluster.master_of(run.store._key(0, "token"))
        victim.kill()
        try:
            world.send_many(50)
            wait_until(lambda: _claims_again(run))
            run.to_the_end()
            world.check_contract_1()
            world.check_memories(run.store)
        finally:
            victim.start()
            redis_cluster.wait()


def _claims_again(run: Run) -> bool:
    """A tick, and whether the failover has been noticed by now."""
    run.tick()
    return run.traps.steps.count("claim") > 1


def test_what_was_only_shown_is_published_and_neither_remembered_nor_learned(world: World) -> None:
    """A list that a page has shown is no act of its user: contract 1 counts it, and nothing else follows from it."""
    types: dict[str, TypeConfig | str] = {"view": TypeConfig(), "shown": TypeConfig(role="impression")}
    for k in range(24):
        world.send("u", f"i{k % 5}", partition=0, **({"type": "shown"} if k % 3 else {}))
    run = world.worker(decoder=Decoder(EventsConfig(types=types)))
    run.to_the_end()
    world.check_contract_1()
    assert run.learned == 8
    [(_, _, blob)] = run.store.scan()
    assert header_of(blob)["events"] == 8
