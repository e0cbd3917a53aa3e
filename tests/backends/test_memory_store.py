"""The twin and a real Redis keep the contract of a memory store; then what only one of them does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from unittest import mock
from uuid import uuid4

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis.crc import key_slot

from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.backends.redis import MemoryConfig, RedisMemoryStore
from stream_worker.core.errors import ConfigurationError, StaleToken, Unavailable
from stream_worker.core.interfaces import MemoryStore
from stream_worker.core.memory_record import MemoryFormat
from tests.backends.memory_store_contract import MemoryStoreContract, Peers, StoreBesideDict, blob, stored, token_of
from tests.services import RedisService, free_port

_BESIDE_DICT = settings(max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
MakeStore = Callable[..., RedisMemoryStore]


@pytest.fixture
def make_store(redis_url: str) -> Iterator[MakeStore]:
    """`make_store(**config)`: stores that share the keys of this test and no other's."""
    group, made = uuid4().hex, []

    def make(name: str = group, **config: float) -> RedisMemoryStore:
        made.append(RedisMemoryStore(MemoryConfig(redis_url=redis_url, **config), name))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def down() -> Iterator[RedisMemoryStore]:
    store = RedisMemoryStore(MemoryConfig(redis_url=f"redis://127.0.0.1:{free_port()}/0"), "g")
    yield store
    store.close()


OPERATIONS: dict[str, Callable[[MemoryStore], object]] = {
    "claim": lambda store: store.claim([0]),
    "load": lambda store: store.load({0: 1}, [(0, "u")]),
    "save": lambda store: store.save(0, 1, [("u", blob(1))]),
    "set_floor": lambda store: store.set_floor(0, 1, 1),
    "number_items": lambda store: store.number_items(["a"]),
    "item_ids": lambda store: store.item_ids([1]),
    "scan": lambda store: list(store.scan()),
    "scan one": lambda store: list(store.scan("u")),
    "take_slot": lambda store: store.take_slot("0", "nonce"),
    "slot_owner": lambda store: store.slot_owner("0"),
    "ping": lambda store: store.ping(),
}


class TestTwin(MemoryStoreContract):
    @pytest.fixture
    def peers(self) -> Peers:
        store = InMemoryMemoryStore()
        return Peers(store, store)


@pytest.mark.redis
class TestRedis(MemoryStoreContract):
    @pytest.fixture
    def peers(self, make_store: MakeStore) -> Peers:
        return Peers(make_store(), make_store())


def test_the_twin_is_a_dict() -> None:
    class Twin(StoreBesideDict):
        def make(self) -> MemoryStore:
            return InMemoryMemoryStore()

    run_state_machine_as_test(Twin, settings=_BESIDE_DICT)  # type: ignore[no-untyped-call]


@pytest.mark.redis
def test_redis_is_a_dict(make_store: MakeStore) -> None:
    names = count()

    class Real(StoreBesideDict):
        def make(self) -> MemoryStore:
            return make_store(f"{uuid4().hex}-{next(names)}")

        def teardown(self) -> None:
            self.store.close()

    run_state_machine_as_test(Real, settings=_BESIDE_DICT)  # type: ignore[no-untyped-call]


def test_a_record_of_default_sizes_takes_at_most_600_bytes() -> None:
    assert len(MemoryFormat(50, 64).empty(1)[0].tobytes()) <= 600


class TestTwinAlone:
    """Bounds, and a state that goes into the checkpoint."""

    def test_it_keeps_the_records_written_last(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_users=3))
        token = token_of(store)
        for n in range(30):
            store.save(0, token, [(f"u{n}", blob(n))])
        store.save(0, token, [("u27", blob(99)), ("u99", blob(99))])
        assert set(stored(store)) == {(0, "u29"), (0, "u27"), (0, "u99")}

    def test_ten_times_the_bound_in_one_call_is_no_more_than_the_bound(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_users=10, twin_items=10))
        store.save(0, token_of(store), [(f"u{n}", blob(n)) for n in range(100)])
        store.number_items([f"i{n}" for n in range(100)])
        assert set(stored(store)) == {(0, f"u{n}") for n in range(90, 100)}
        assert [item for item in store.item_ids(range(101)) if item] == [f"i{n}" for n in range(90, 100)]

    def test_it_keeps_the_items_asked_for_last_and_never_reuses_a_number(self) -> None:
        store = InMemoryMemoryStore(MemoryConfig(twin_items=2))
        assert store.number_items(["a"]) + store.number_items(["b"]) + store.number_items(["a"]) == [1, 2, 1]
        assert store.number_items(["c"]) == [3]
        assert store.item_ids([1, 2, 3]) == ["a", None, "c"]
        assert store.number_items(["b"]) == [4]

    def filled(self) -> InMemoryMemoryStore:
        store = InMemoryMemoryStore(MemoryConfig(twin_users=4, twin_items=4))
        tokens = {p: claim.token for p, claim in store.claim([0, 3]).items()}
        store.save(3, tokens[3], [("ü€", blob(2**40, b"\x00\xff")), ("b", blob(1, b"")), ("c:{}", blob(2))])
        store.save(0, tokens[0], [("b", blob(7)), ("ü€", blob(8, b"longer than the rest"))])
        store.number_items(["x", "ü", "y", "z", "w", "ü"])
        store.set_floor(3, tokens[3], 2**40)
        return store

    def test_its_state_restores_all_of_it_in_order(self) -> None:
        """Order too, since it says who goes first: both stores forget the same ones from here on."""
        store, again = self.filled(), InMemoryMemoryStore(MemoryConfig(twin_users=4, twin_items=4))
        again.load_state_dict(store.state_dict())
        assert list(again.scan()) == list(store.scan())
        assert {name: array.tolist() for name, array in again.state_dict().items()} == {
            name: array.tolist() for name, array in store.state_dict().items()
        }
        assert again.item_ids(range(9)) == store.item_ids(range(9))
        for one in (store, again):
            claim = one.claim([3])[3]
            assert (claim.token, claim.floor) == (2, 2**40)
            one.save(3, claim.token, [("new", blob(1)), ("newer", blob(1))])
            assert one.number_items(["v", "x"]) == [6, 7]
        assert list(again.scan()) == list(store.scan())

    def test_its_state_is_a_copy(self) -> None:
        """A checkpoint is written in the background, while the store goes on."""
        store = self.filled()
        state = store.state_dict()
        before = {name: array.copy() for name, array in state.items()}
        store.save(0, store.claim([0])[0].token, [("b", blob(70, b"changed"))])
        store.number_items(["q"])
        assert all(np.array_equal(state[name], before[name]) for name in before)

    def test_an_empty_state_restores_an_empty_store(self) -> None:
        store = self.filled()
        store.load_state_dict(InMemoryMemoryStore().state_dict())
        assert stored(store) == {}
        assert store.number_items(["a"]) == [1]
        assert store.claim([3])[3].floor is None

    def test_tokens_from_before_a_restore_are_refused_after_the_next_claim(self) -> None:
        store = self.filled()
        old = token_of(store, 0)
        again = InMemoryMemoryStore()
        again.load_state_dict(store.state_dict())
        assert token_of(again, 0) > old
        with pytest.raises(StaleToken):
            again.set_floor(0, old, 1)

    def test_it_is_written_with_the_checkpoint(self) -> None:
        assert not InMemoryMemoryStore().durable


@pytest.mark.redis
class TestRedisAlone:
    """Keys, expiry, and a server that is gone."""

    def test_groups_share_nothing(self, make_store: MakeStore) -> None:
        """Even where one group's name begins with the other's."""
        name = uuid4().hex
        one, two = make_store(name), make_store(f"{name}:0")
        for store, payload in ((one, b"one"), (two, b"two")):
            store.save(0, token_of(store), [("u", blob(1, payload))])
            store.take_slot("0", payload.decode())
        assert list(one.scan()) == [(0, "u", blob(1, b"one"))]
        assert list(two.scan()) == list(two.scan("u")) == [(0, "u", blob(1, b"two"))]
        assert (one.slot_owner("0"), two.slot_owner("0")) == ("one", "two")
        assert (one.number_items(["b"]), two.number_items(["a"])) == ([1], [1])
        assert two.item_ids([1]) == ["a"]

    def test_groups_with_wild_names_scan_their_own(self, make_store: MakeStore) -> None:
        name = uuid4().hex
        wild, plain = make_store(f"{name}[a]*?"), make_store(f"{name}a")
        plain.save(0, token_of(plain), [("u", blob(1, b"plain"))])
        assert list(wild.scan()) == []
        wild.save(2, token_of(wild, 2), [("u", blob(1, b"wild"))])
        assert list(wild.scan()) == [(2, "u", blob(1, b"wild"))]

    def test_all_keys_of_a_partition_carry_one_hash_tag(self, make_store: MakeStore, redis_url: str) -> None:
        """So that a script stays within one slot of a Redis Cluster."""
        group = uuid4().hex
        store = make_store(group)
        token = token_of(store, 4)
        store.save(4, token, [("u", blob(1)), ("{v}", blob(1))])
        store.set_floor(4, token, 1)
        store.number_items(["a"])
        with redis.Redis.from_url(redis_url) as client:
            slots = {key: key_slot(key) for key in client.keys(f"*{group}*")}
        by_tag: dict[bool, set[int]] = {}
        for key, slot in slots.items():
            by_tag.setdefault(b":items}" in key, set()).add(slot)
        assert len(slots) == 7
        assert [len(several) for several in by_tag.values()] == [1, 1]

    @pytest.mark.parametrize(("expire", "expected"), [(0.0, None), (30.0, 60.0)])
    def test_records_live_twice_the_time_of_expiry(
        self, make_store: MakeStore, redis_url: str, expire: float, expected: float | None
    ) -> None:
        """Tokens, floors and item numbers for ever."""
        group = uuid4().hex
        store = make_store(group, expire_seconds=expire)
        token = token_of(store)
        store.save(0, token, [("u", blob(1))])
        store.set_floor(0, token, 1)
        store.number_items(["a"])
        with redis.Redis.from_url(redis_url) as client:
            left = {key.decode(): client.pttl(key) for key in client.keys(f"*{group}*")}
        records = [ms for key, ms in left.items() if ":u:" in key]
        assert len(records) == 1
        if expected is None:
            assert records == [-1]
        else:
            assert expected - 5 < records[0] / 1000 <= expected
        assert [ms for key, ms in left.items() if ":u:" not in key] == [-1] * (len(left) - 1)

    def test_writing_a_record_again_makes_it_live_on(self, make_store: MakeStore, redis_url: str) -> None:
        group = uuid4().hex
        store = make_store(group, expire_seconds=30.0)
        token = token_of(store)
        store.save(0, token, [("u", blob(1))])
        with redis.Redis.from_url(redis_url) as client:
            [key] = client.keys(f"*{group}*:u:*")
            client.pexpire(key, 1_000)
            store.save(0, token, [("u", blob(1))])
            assert client.pttl(key) > 30_000

    def test_what_it_answers_says_whether_users_can_be_lost(self, make_store: MakeStore) -> None:
        line = make_store().ping()
        assert line.startswith("Redis ")
        assert "noeviction" in line
        assert "no append-only file" in line

    def test_it_is_durable_and_has_nothing_for_a_checkpoint(self, make_store: MakeStore) -> None:
        store = make_store()
        store.save(0, token_of(store), [("u", blob(1))])
        assert store.durable
        assert store.state_dict() == {}
        store.load_state_dict({})
        assert stored(store) == {(0, "u"): blob(1)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_a_redis_every_operation_is_unavailable(down: RedisMemoryStore, name: str) -> None:
    with pytest.raises(Unavailable, match="Redis"):
        OPERATIONS[name](down)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port/0"])
def test_an_address_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"memory\.redis_url"):
        RedisMemoryStore(MemoryConfig(redis_url=url), "g")


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_users": 1}, {"pending_users": 0}, {"twin_users": 0}, {"twin_items": 0}, {"expire_seconds": -1.0},
        {"rebuild_records": -1}, {"namespace": ""}, {"namespace": "a{b"},
    ],
)  # fmt: skip
def test_a_setting_out_of_bounds_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"memory.{next(iter(wrong))}"):
        MemoryConfig(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def server(redis_url: str) -> Iterator[RedisService]:
    """A Redis of this test's own, to be hurt; with a file, so that it comes back as it was."""
    with RedisService(appendonly=True) as service:
        yield service


@pytest.fixture
def hurt(server: RedisService) -> Iterator[RedisMemoryStore]:
    store = RedisMemoryStore(MemoryConfig(redis_url=server.url), "g:events")
    yield store
    store.close()


@pytest.mark.redis
class TestRedisInTrouble:
    def test_a_redis_that_goes_away_is_unavailable_and_comes_back_with_everything(
        self, server: RedisService, hurt: RedisMemoryStore
    ) -> None:
        """The same store object goes on: scripts are loaded again, and the tokens still count."""
        token = token_of(hurt)
        hurt.save(0, token, [("u", blob(1))])
        hurt.number_items(["a"])
        server.stop()
        for operation in OPERATIONS.values():
            with pytest.raises(Unavailable):
                operation(hurt)
        server.start()
        assert hurt.load({0: token}, [(0, "u")]) == [blob(1)]
        assert hurt.save(0, token, [("u", blob(2))]) == 1
        assert hurt.number_items(["b", "a"]) == [2, 1]
        assert token_of(hurt) > token

    def test_a_scan_that_is_cut_off_half_way_is_unavailable(self, server: RedisService, hurt: RedisMemoryStore) -> None:
        hurt.save(0, token_of(hurt), [(f"u{n}", blob(1)) for n in range(3_000)])
        rows = hurt.scan()
        next(rows)
        server.kill()
        with pytest.raises(Unavailable):
            list(rows)

    def test_a_redis_that_hangs_is_unavailable(self, server: RedisService, hurt: RedisMemoryStore) -> None:
        hurt._redis.connection_pool.connection_kwargs["socket_timeout"] = 0.1
        token = token_of(hurt)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                hurt.save(0, token, [("u", blob(1))])
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert hurt.save(0, token, [("u", blob(2))]) == 1

    def test_a_full_redis_is_unavailable_and_has_written_nothing(
        self, server: RedisService, hurt: RedisMemoryStore
    ) -> None:
        token = token_of(hurt)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1_000_000)
            with pytest.raises(Unavailable, match="memory"):
                hurt.save(0, token, [(f"u{n}", blob(1, bytes(600))) for n in range(20_000)])
            for name in ("claim", "number_items", "take_slot"):
                with pytest.raises(Unavailable, match="memory"):
                    OPERATIONS[name](hurt)
            client.config_set("maxmemory", 0)
        assert len(stored(hurt)) in range(0, 20_000, 1_000)
        assert hurt.save(0, token, [("u", blob(1))]) == 1

    def test_a_redis_that_cannot_write_to_its_disk_is_unavailable(
        self, server: RedisService, hurt: RedisMemoryStore
    ) -> None:
        """It refuses writes with MISCONF until it can again; a worker waits."""
        token = token_of(hurt)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("min-replicas-to-write", 1)
            with pytest.raises(Unavailable, match="NOREPLICAS"):
                hurt.save(0, token, [("u", blob(1))])
            client.config_set("min-replicas-to-write", 0)
        fault = redis.ResponseError("MISCONF Errors writing to the AOF file")
        with mock.patch.object(hurt, "_save", side_effect=fault), pytest.raises(Unavailable, match="MISCONF"):
            hurt.save(0, token, [("u", blob(1))])

    def test_a_fault_of_this_program_is_not_waited_for(self, hurt: RedisMemoryStore) -> None:
        hurt.take_slot("0", "nonce")
        hurt._redis.set(f"{hurt._prefix}:items}}:ids", "no hash")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            hurt.number_items(["a"])

    def test_a_wiped_redis_refuses_the_tokens_from_before(self, server: RedisService, hurt: RedisMemoryStore) -> None:
        """Nothing is written beside memories that are gone: the floor they stood on is gone too."""
        token = token_of(hurt)
        hurt.set_floor(0, token, 5)
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        with pytest.raises(StaleToken, match="the current one is 0"):
            hurt.save(0, token, [("u", blob(1))])
        assert hurt.claim([0])[0].floor is None


@pytest.mark.redis
def test_the_language_of_the_server_does_not_change_the_order_of_offsets(redis_url: str, tmp_path: Path) -> None:
    """Redis lets Lua compare strings by its locale, where "a" comes before "B"."""
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not on the PATH")
    place = tmp_path / "en_US.UTF-8"
    made = subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", str(place)], capture_output=True, check=False)
    if not place.exists():
        pytest.skip(f"localedef: {made.stderr.decode(errors='replace')[:200]}")
    with mock.patch.dict(os.environ, {"LOCPATH": str(tmp_path), "LC_ALL": "en_US.UTF-8"}), RedisService() as server:
        store = RedisMemoryStore(MemoryConfig(redis_url=server.url), "g")
        token = token_of(store)
        assert [store.save(0, token, [("u", blob(n))]) for n in range(256)] == [1] * 256
        assert [store.save(0, token, [("u", blob(n))]) for n in range(255)] == [0] * 255
        store.close()
