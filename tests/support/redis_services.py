"""Redis as a cluster, behind a sentinel, and behind TLS and a login: real servers on free loopback ports."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.services import RedisService, Service, ServiceMissing, free_port, program

SLOTS = 16_384
MASTER = "mymaster"
_READY_SECONDS = 30.0
_ADMIN = "open-sesame"


@dataclass(frozen=True)
class Lock:
    """TLS and users: `admin`, who may do everything, and `worker` with the rights and the password that it is given."""

    folder: Path
    password: str

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def settings(self) -> list[str]:
        tls = {"cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "ca.pem"}
        files = [word for name, file in tls.items() for word in (f"--tls-{name}", str(self.folder / file))]
        everywhere = ["--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"]
        users = ["--aclfile", str(self.folder / "users.acl"), "--masteruser", "admin", "--masterauth", _ADMIN]
        return [*files, *everywhere, *users]


@contextmanager
def locked(rights: str, password: str = "hush-hush") -> Iterator[Lock]:
    """`rights`: of the user `worker`, in Redis' own words."""
    folder = Path(tempfile.mkdtemp(prefix="stream-worker-lock-"))
    try:
        _certificates(folder)
        users = ["user default off", f"user admin on >{_ADMIN} ~* &* +@all", f"user worker on >{password} {rights}"]
        (folder / "users.acl").write_text("\n".join(users) + "\n")
        yield Lock(folder, password)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _certificates(folder: Path) -> None:
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    key = ["-newkey", "rsa:2048", "-nodes", "-subj"]
    for command in (
        ["req", "-x509", *key, "/CN=ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *key, "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "request.pem"],
        ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-extfile", "san", "-out", "cert.pem"],
    ):  # fmt: skip
        subprocess.run([program("openssl"), *command], cwd=folder, check=True, capture_output=True)


class Server(RedisService):
    """A server that may stand behind a lock, with a client for what the test itself wants of it."""

    def __init__(self, lock: Lock | None = None, settings: Sequence[str] = (), *, appendonly: bool = False) -> None:
        super().__init__(appendonly=appendonly, settings=settings)
        self.lock = lock

    def command(self) -> Sequence[str]:
        command = list(super().command())
        if self.lock is None:
            return command
        return [*command, *self.lock.settings(), "--port", "0", "--tls-port", str(self.port)]

    def admin(self, **more: Any) -> redis.Redis:
        if self.lock is not None:
            more |= {"ssl": True, "ssl_ca_certs": str(self.lock.ca), "username": "admin", "password": _ADMIN}
        return redis.Redis("127.0.0.1", self.port, **more)

    def answers(self) -> bool:
        try:
            return bool(self.admin().ping())
        except redis.RedisError:
            return False


def url_of(lock: Lock | None, hosts: Sequence[str], password: str | None = None) -> str:
    if lock is None:
        return f"redis://{','.join(hosts)}"
    return f"rediss://worker:{password or lock.password}@{','.join(hosts)}/0?ssl_ca_certs={lock.ca}"


class _Several:
    """Servers that start and end together."""

    def __init__(self, servers: Sequence[Service]) -> None:
        self._all = servers

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in self._all:
                started.enter_context(server)
            self._ready()
            self._started = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._started.__exit__(kind, error, at)

    def _ready(self) -> None:
        raise NotImplementedError


class RedisCluster(_Several):
    """Three masters, each with a replica that takes over a second or two after its master has gone."""

    def __init__(self, lock: Lock | None = None, *, node_timeout_ms: int = 1_000) -> None:
        self.lock = lock
        self.buses = [free_port() for _ in range(6)]
        self.servers = [
            Server(
                lock,
                [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    str(node_timeout_ms),
                    "--cluster-port",
                    str(bus),
                    "--cluster-replica-validity-factor",
                    "0",
                    "--repl-diskless-sync-delay",
                    "0",
                ],
            )
            for bus in self.buses
        ]
        super().__init__(self.servers)

    @property
    def url(self) -> str:
        return self.url_with()

    def url_with(self, password: str | None = None) -> str:
        """Of two nodes; the others are found."""
        return url_of(self.lock, [f"127.0.0.1:{server.port}" for server in self.servers[:2]], password)

    def masters(self) -> list[Server]:
        return [server for server in self.servers if self.is_master(server)]

    def master_of(self, key: str) -> Server:
        """The server that holds the key."""
        alive = next(iter(self.masters()))
        slot, nodes = self._ask(alive, "CLUSTER", "KEYSLOT", key), self._ask(alive, "CLUSTER", "SLOTS")
        [port] = [master[1] for low, high, master, *_ in nodes if low <= slot <= high]
        return next(server for server in self.servers if server.port == port)

    def replica_of(self, master: Server) -> Server:
        return next(
            s for s in self.servers if s is not master and self._replication(s).get("master_port") == master.port
        )

    def is_master(self, server: Server) -> bool:
        return self._role(server) == "master"

    def wait(self) -> None:
        """Until every node finds the cluster whole and every replica is in step."""
        wait_until(lambda: all(self._whole(server) for server in self.servers))

    def _ready(self) -> None:
        first, *others = self.servers
        for server, bus in zip(others, self.buses[1:], strict=True):
            self._ask(first, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for server, low, high in zip(self.servers[:3], bounds, bounds[1:], strict=False):
            self._ask(server, "CLUSTER", "ADDSLOTSRANGE", low, high - 1)
        wait_until(lambda: all(len(self._ask(s, "CLUSTER", "NODES").splitlines()) == 6 for s in self.servers))
        for master, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            name = self._ask(master, "CLUSTER", "MYID")
            wait_until(lambda replica=replica, name=name: self._replicates(replica, name))  # type: ignore[misc]
        self.wait()

    def _replicates(self, replica: Server, master: Any) -> bool:
        try:
            return bool(self._ask(replica, "CLUSTER", "REPLICATE", master))
        except redis.ResponseError:  # it has not heard of the master yet
            return False

    def _whole(self, server: Server) -> bool:
        state = self._ask(server, "CLUSTER", "INFO")
        info = self._replication(server)
        in_step = info.get("master_link_status") == "up" if info["role"] == "slave" else info["connected_slaves"] == 1
        return b"cluster_state:ok" in state and b"cluster_known_nodes:6" in state and in_step

    def _role(self, server: Server) -> str:
        try:
            return str(self._replication(server)["role"])
        except redis.RedisError:
            return "gone"

    def _replication(self, server: Server) -> dict[str, Any]:
        info: Any = server.admin().info("replication")
        return dict(info)

    def _ask(self, server: Server, *command: Any) -> Any:
        with server.admin() as client:
            words: Any = client
            return words.execute_command(*command)


class Sentinel(Server):
    """One that decides alone, a second after the master has gone. `password` is its own."""

    def __init__(self, master: Server, lock: Lock | None, password: str) -> None:
        super().__init__(lock)
        self._master, self._password = master, password

    def command(self) -> Sequence[str]:
        lines = [
            f"sentinel monitor {MASTER} 127.0.0.1 {self._master.port} 1",
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 3000",
            f"dir {self.folder}",
            "bind 127.0.0.1",
        ]
        if self._password:
            lines.append(f"requirepass {self._password}")
        if self.lock is None:
            lines.append(f"port {self.port}")
        else:
            lines += [f"sentinel auth-user {MASTER} admin", f"sentinel auth-pass {MASTER} {_ADMIN}"]
            words = self.lock.settings()
            pairs = zip(words[::2], words[1::2], strict=True)
            lines += [f"{name[2:]} {value}" for name, value in pairs if name.startswith("--tls")]
            lines += ["port 0", f"tls-port {self.port}"]
        settings = self.folder / "sentinel.conf"
        if not settings.exists():  # it writes down there what it finds out
            settings.write_text("\n".join(lines) + "\n")
        return [program("redis-server"), str(settings), "--sentinel"]

    def admin(self, **more: Any) -> redis.Redis:
        tls: dict[str, Any] = {} if self.lock is None else {"ssl": True, "ssl_ca_certs": str(self.lock.ca)}
        return redis.Redis("127.0.0.1", self.port, **tls, password=self._password or None, **more)


class RedisSentinel(_Several):
    """A master, its replica, and a sentinel over them."""

    def __init__(self, lock: Lock | None = None, *, password: str = "") -> None:
        self.lock, self.password = lock, password
        self.first = Server(lock)
        more = ["--replicaof", "127.0.0.1", str(self.first.port), "--repl-diskless-sync-delay", "0"]
        self.second = Server(lock, more)
        self.sentinel = Sentinel(self.first, lock, password)
        super().__init__([self.first, self.second, self.sentinel])

    @property
    def url(self) -> str:
        """Of two sentinels, the first of which is not there."""
        return self.url_with()

    def url_with(self, password: str | None = None) -> str:
        return url_of(self.lock, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{self.sentinel.port}"], password)

    def master(self) -> Server:
        asked: Any = self.sentinel.admin()
        port = int(asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])
        return self.first if self.first.port == port else self.second

    def wait(self) -> None:
        """Until there is a master again, and the other one is its replica, in step and known to the sentinel."""
        wait_until(self._whole)

    def _ready(self) -> None:
        self.wait()

    def _whole(self) -> bool:
        try:
            master = self.master()
            replica = self.second if master is self.first else self.first
            info: Any = replica.admin().info("replication")
            asked: Any = self.sentinel.admin()
            state = asked.sentinel_master(MASTER)
            known = state["num-slaves"] == 1 and state["flags"] == "master"
            follows = info.get("master_link_status") == "up" and info.get("master_port") == master.port
            return bool(known and follows)
        except redis.RedisError:
            return False


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _READY_SECONDS
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > end:
            raise ServiceMissing(f"not within {_READY_SECONDS} seconds")
        time.sleep(0.05)
