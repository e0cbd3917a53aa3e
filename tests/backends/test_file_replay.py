"""Batches of a replay depend on the position alone, and a killed replay goes on as if it had not been killed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_worker.backends.files import FieldNames, FileSink, FileSource
from stream_worker.backends.files import Mapping as LogMapping
from stream_worker.core.codec import decode_recommendation
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.events import DeadLetter, Outputs, Prediction, Recommendation, Record
from stream_worker.core.offsets import Committed, Kept

T = 1_400_000_000
FIELDS = FieldNames(user="user", item="item", ts="ts", type="type")
PLAIN = LogMapping(FIELDS)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class Owner:
    """Starts at a given M and remembers the Y that it was told."""

    def __init__(self, floor: int | None = None) -> None:
        self.floor = floor
        self.published: dict[int, int] = {}

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        published = {partition: at.next_offset for partition, at in committed.items()}
        self.published.update(published)
        return {p: y if self.floor is None else self.floor for p, y in published.items()}

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        return {}

    def release(self, partitions: Collection[int]) -> None: ...

    def drop(self, partitions: Collection[int]) -> None: ...


class FakeClock:
    def __init__(self) -> None:
        self.time = 50.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred events, 30 s between two."""
    lines = "".join(f"u{n % 7},{n},{T + 30 * n},click\n" for n in range(100))
    return write(tmp_path_factory.mktemp("log") / "log.csv", "user,item,ts,type\n" + lines)


def subscribed(source: FileSource, owner: Owner | None = None) -> FileSource:
    source.subscribe(owner or Owner())
    return source


def batches(source: FileSource, size: int) -> Iterator[list[Record]]:
    while not source.exhausted():
        if batch := source.poll(size, 1.0):
            yield batch


def offsets(source: FileSource, size: int) -> list[list[int]]:
    return [[record.offset for record in batch] for batch in batches(source, size)]


def joined(lists: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


class TestFileSource:
    def test_batches_are_full_until_the_end(self, log: Path) -> None:
        source = subscribed(FileSource([log], PLAIN))
        assert [len(batch) for batch in batches(source, 30)] == [30, 30, 30, 10]
        assert source.position == 100
        assert source.poll(30, 1.0) == []

    def test_the_end_is_known_with_the_last_record(self, log: Path) -> None:
        """Otherwise the loop would wait for one more batch."""
        source = subscribed(FileSource([log], PLAIN))
        assert not source.exhausted()
        assert len(source.poll(100, 1.0)) == 100
        assert source.exhausted()

    def test_reading_starts_where_the_owner_says(self, log: Path) -> None:
        """Y goes in, M comes out; rows between the two are given out again."""
        owner = Owner(floor=40)
        source = subscribed(FileSource([log], PLAIN, published=60), owner)
        assert source.poll(20, 1.0)[0].offset == 40
        assert owner.published == {0: 60}

    @given(floor=st.integers(0, 100), size=st.integers(1, 40))
    @settings(max_examples=50)
    def test_batches_depend_on_the_position_alone(self, log: Path, floor: int, size: int) -> None:
        """Begun anywhere, the batches end where those of an uninterrupted run end."""
        whole = {batch[-1] for batch in offsets(subscribed(FileSource([log], PLAIN)), size)}
        resumed = offsets(subscribed(FileSource([log], PLAIN), Owner(floor)), size)
        assert {batch[-1] for batch in resumed} == {end for end in whole if end >= floor}
        assert joined(resumed) == list(range(floor, 100))

    def test_start_and_limit_choose_rows_and_a_restart_keeps_to_them(self, log: Path) -> None:
        part: dict[str, Any] = {"start": 20, "limit": 50}
        assert joined(offsets(subscribed(FileSource([log], PLAIN, **part)), 20)) == list(range(20, 70))
        resumed = subscribed(FileSource([log], PLAIN, **part, published=60))
        assert joined(offsets(resumed, 20)) == list(range(60, 70))

    def test_speed_changes_when_batches_come_and_not_what_is_in_them(self, log: Path) -> None:
        clock = FakeClock()
        source = subscribed(FileSource([log], PLAIN, speed=60, clock=clock, sleep=clock.sleep))
        came = []
        for batch in batches(source, 10):
            came.append((clock.time - 50.0, [record.offset for record in batch]))
        assert [batch for _, batch in came] == offsets(subscribed(FileSource([log], PLAIN)), 10)
        assert [seconds for seconds, _ in came] == pytest.approx([(30 * 9 + 300 * n) / 60 for n in range(10)])

    @pytest.mark.parametrize("junk", [0, 315_532_800, 915_148_800, 4_070_908_800, 1e300, "soon"])
    @pytest.mark.parametrize("place", [0, 5, 9])
    def test_a_time_that_can_not_be_right_is_no_reason_to_wait(self, tmp_path: Path, junk: object, place: int) -> None:
        """A clock of 1970, 1980 or 1999 at the head of the log was a pause of decades, one of 2099 a longer one."""
        times: list[object] = [T + 30 * n for n in range(40)]
        times.insert(place, junk)
        lines = "".join(f"u,i,{ts},click\n" for ts in times)
        clock = FakeClock()
        log = write(tmp_path / "log.csv", "user,item,ts,type\n" + lines)
        source = subscribed(FileSource([log], PLAIN, speed=1, clock=clock, sleep=clock.sleep))
        assert sum(map(len, batches(source, 10))) == 41
        assert clock.time - 50.0 == pytest.approx(30 * 39)

    def test_a_poll_never_sleeps_past_its_timeout(self, log: Path) -> None:
        clock = FakeClock()
        source = subscribed(FileSource([log], PLAIN, speed=1, clock=clock, sleep=clock.sleep))
        assert source.poll(10, 0.5) == []
        assert clock.time == 50.5
        assert not source.exhausted()

    def test_another_log_or_mapping_has_another_name(self, log: Path, tmp_path: Path) -> None:
        copy = write(tmp_path / "log.csv", log.read_bytes())
        other = write(tmp_path / "other.csv", log.read_bytes() + b"x")
        names = [FileSource([path], PLAIN).name for path in (log, copy, other)]
        assert names[0] == names[1]
        assert names[0].startswith("file:log.csv:")
        assert names[0].rpartition(":")[2] != names[2].rpartition(":")[2]
        assert FileSource([log], LogMapping(FIELDS, sort=True)).name != names[0]

    def test_a_logs_name_is_the_same_in_every_version(self, tmp_path: Path) -> None:
        """Lists name the log that they rest on, and checkpoints the log that they go on with."""
        log = write(tmp_path / "log.csv", "user,item,ts\nu,i,1\n")
        mapping = LogMapping(FieldNames("user", "item", "ts"), types={"1": "buy"}, keep={"item": "not null"})
        assert FileSource([log], mapping).name == "file:log.csv:095a55e1f055"

    def test_lag_and_total_are_known_for_a_sorted_log(self, log: Path) -> None:
        source = subscribed(FileSource([log], LogMapping(FIELDS, sort=True), limit=90))
        source.poll(10, 1.0)
        assert source.total == 90
        assert source.lag({0: 10}) == {0: 80}
        unsorted = subscribed(FileSource([log], PLAIN))
        unsorted.poll(10, 1.0)
        assert unsorted.lag({0: 10}) == {0: 0}

    def test_a_speed_needs_a_clock(self, log: Path) -> None:
        with pytest.raises(ValueError, match="speed: must be positive and come with a clock"):
            FileSource([log], PLAIN, speed=60)


def outputs(offset: int) -> Outputs:
    record = Record(0, offset, 0, None, b"\xff" * (offset % 5), f"line {offset + 2} of log.csv")
    return Outputs(
        [Recommendation(f"u{offset}", 0, offset + 1, 1, 1.0, ["a"], [0.5], "0", offset)],
        [DeadLetter(record, "NotJson", "expected a JSON object, got noise")],
        [Prediction(f"u{offset}", "i", ["a"] * (offset % 3))],
    )


def sink_in(folder: Path) -> FileSink:
    folder.mkdir(exist_ok=True)
    return FileSink(folder / "p.jsonl", folder / "r.jsonl", folder / "d.jsonl", topic="t")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestFileSink:
    def test_each_output_is_a_line_of_its_file(self, tmp_path: Path) -> None:
        sink = sink_in(tmp_path)
        sink.commit(outputs(4), {0: 5}, None)
        sink.close()
        assert (tmp_path / "p.jsonl").read_bytes() == b'{"user":"u4","item":"i","ranked":["a"]}\n'
        assert decode_recommendation((tmp_path / "r.jsonl").read_bytes()).next_offset == 5
        dead = orjson.loads((tmp_path / "d.jsonl").read_bytes())
        assert (dead["topic"], dead["offset"], dead["error"], dead["value"]) == ("t", 4, "NotJson", r"\xff" * 4)
        assert dead["place"] == "line 6 of log.csv"

    @given(done=st.integers(0, 12), lost=st.integers(0, 5))
    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_killed_and_resumed_files_are_the_same_to_the_bit(
        self, tmp_path_factory: pytest.TempPathFactory, done: int, lost: int
    ) -> None:
        """What was written after the last checkpoint, whole or torn, is cut off and written again."""
        whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
        sink = sink_in(whole)
        for offset in range(20):
            sink.commit(outputs(offset), {0: offset + 1}, None)
        sink.close()
        first = sink_in(killed)
        for offset in range(done):
            first.commit(outputs(offset), {0: offset + 1}, None)
        state = orjson.loads(orjson.dumps(first.state_dict()))
        for offset in range(done, done + lost):
            first.commit(outputs(offset), {0: offset + 1}, None)
        first.close()
        with (killed / "p.jsonl").open("ab") as torn:
            torn.write(b'{"user":"u')
        second = sink_in(killed)
        second.load_state_dict(state)
        assert second.next_offset == done
        for offset in range(second.next_offset, 20):
            second.commit(outputs(offset), {0: offset + 1}, None)
        second.close()
        assert contents(whole) == contents(killed)

    def test_a_state_promises_only_bytes_that_are_in_the_file(self, tmp_path: Path) -> None:
        """A kill -9 right after it loses nothing: no buffer of this process holds what the lengths count."""
        sink = sink_in(tmp_path)
        sink.commit(outputs(7), {0: 8}, None)
        state = sink.state_dict()
        files = {"predictions": "p.jsonl", "recommendations": "r.jsonl", "dead_letters": "d.jsonl"}
        sizes = {name: (tmp_path / file).stat().st_size for name, file in files.items()}
        assert state == {"next_offset": 8, "lengths": sizes}

    def test_a_state_before_anything_is_written_again_promises_what_was_cut_off_to(self, tmp_path: Path) -> None:
        """Killed behind a checkpoint; the next life makes one before it has written anything."""
        first = sink_in(tmp_path)
        first.commit(outputs(1), {0: 2}, None)
        state = first.state_dict()
        first.commit(outputs(2), {0: 3}, None)
        first.close()
        second = sink_in(tmp_path)
        second.load_state_dict(state)
        assert second.state_dict() == state
        second.close()
        assert second.state_dict() == state

    def test_a_new_run_writes_from_the_beginning(self, tmp_path: Path) -> None:
        for _ in range(2):
            sink = sink_in(tmp_path)
            sink.commit(outputs(1), {0: 2}, None)
            sink.close()
        assert (tmp_path / "p.jsonl").read_bytes().count(b"\n") == 1

    def test_a_closed_sink_goes_on_where_it_was(self, tmp_path: Path) -> None:
        sink = sink_in(tmp_path)
        sink.commit(outputs(1), {0: 2}, None)
        sink.close()
        sink.commit(outputs(2), {0: 3}, None)
        sink.close()
        assert (tmp_path / "p.jsonl").read_bytes().count(b"\n") == 2

    def test_a_file_that_has_become_shorter_is_refused(self, tmp_path: Path) -> None:
        sink = sink_in(tmp_path)
        sink.commit(outputs(1), {0: 2}, None)
        state = sink.state_dict()
        sink.close()
        (tmp_path / "p.jsonl").unlink()
        with pytest.raises(ConfigurationError, match=r"p\.jsonl: expected at least \d+ bytes, .* got 0"):
            sink_in(tmp_path).load_state_dict(state)

    def test_outputs_that_nobody_asked_for_are_not_written(self, tmp_path: Path) -> None:
        sink = FileSink(predictions=tmp_path / "p.jsonl")
        sink.commit(outputs(1), {0: 2}, None)
        assert list(sink.state_dict()["lengths"]) == ["predictions"]
        sink.close()
        assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def test_offsets_of_a_log_number_its_rows_without_a_gap(log: Path) -> None:
    source = subscribed(FileSource([log], LogMapping(FIELDS, sort=True)))
    assert joined(offsets(source, 7)) == list(range(100))
