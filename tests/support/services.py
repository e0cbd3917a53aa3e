"""A real Apache Kafka and a real Redis for the tests, on free loopback ports, stopped by their own process ids.

python -m tests.support.services [--kafka-port 19092] [--redis-port 16379]      both until Ctrl-C, for manual runs
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

KAFKA_VERSION = "4.3.1"
CACHE = Path.home() / ".cache" / "stream-worker-tests"
_STOP_SECONDS = 15.0
_APPENDED = "appendonlydir"

# kafka-tools: without it StorageTool misses classes.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

# Short sessions and heartbeats, so that a takeover takes a second or six, not 45; late transactions are looked for
# every second, not every ten.
_SETTINGS = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
auto.create.topics.enable=false
"""


class ServiceMissing(Exception):  # noqa: N818
    """The service can't be started here; the message says why."""


class Service:
    """One server process with a folder of its own. `start` after `stop` or `kill` goes on with the same data."""

    name = ""
    start_seconds = 60.0

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"stream-worker-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> Self:
        command = self.command()
        self._log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self.start_seconds
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > end:
                tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise ServiceMissing(f"{self.name} did not start (exit code {self._process.poll()}):\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang (SIGSTOP), its port open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._log is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()  # its data go, too
        shutil.rmtree(self.folder, ignore_errors=True)


class KafkaBroker(Service):
    """One node in KRaft mode, broker and controller, from the jars of Maven Central."""

    name = "kafka"

    def __init__(
        self, port: int | None = None, *, node: int = 1, controllers: Sequence[int] = (), uuid: str = ""
    ) -> None:
        """`controllers`: the controller ports of all nodes, in the order of their numbers from 1."""
        super().__init__(port)
        self._node, self._controllers, self._uuid = node, controllers or [free_port()], uuid

    def command(self) -> Sequence[str]:
        jars = kafka_jars()
        settings = self.folder / "server.properties"
        if not settings.exists():
            settings.write_text(self._settings(), encoding="utf-8")
            tool = ["java", *_quiet(jars), "kafka.tools.StorageTool"]
            uuid = self._uuid or output_of([*tool, "random-uuid"]).split()[-1]
            output_of([*tool, "format", "-t", uuid, "-c", str(settings)])
        memory = ["-Xmx512m", "-Xms256m"] if len(self._controllers) == 1 else ["-Xmx400m", "-XX:+UseSerialGC"]
        return ["java", *memory, *_quiet(jars), "kafka.Kafka", str(settings)]

    def _settings(self) -> str:
        nodes = len(self._controllers)
        return _SETTINGS.format(
            node=self._node,
            voters=",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(self._controllers, 1)),
            port=self.port,
            controller=self._controllers[self._node - 1],
            data=self.folder / "data",
            replicas=min(3, nodes),
            in_sync=min(2, nodes),
        )

    def answers(self) -> bool:
        return _connects(self.port)


class KafkaCluster:
    """One broker, or several that share topics, controllers and fate."""

    def __init__(self, port: int | None = None, *, brokers: int = 1) -> None:
        controllers = [free_port() for _ in range(brokers)]
        uuid = b64encode(secrets.token_bytes(16), altchars=b"-_").decode()[:22].replace("-", "A")
        self.brokers = [
            KafkaBroker(port if node == 1 else None, node=node, controllers=controllers, uuid=uuid)
            for node in range(1, brokers + 1)
        ]

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for broker in self.brokers:
                started.push(broker)
            # Together: a node of several answers once it has found the others.
            with ThreadPoolExecutor(len(self.brokers)) as threads:
                list(threads.map(KafkaBroker.start, self.brokers))
            self._started = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._started.__exit__(kind, error, at)


class RedisService(Service):
    """One `redis-server`, nothing on disk unless `appendonly` is set. `settings` are more of its arguments."""

    name = "redis"

    def __init__(self, port: int | None = None, *, appendonly: bool = False, settings: Sequence[str] = ()) -> None:
        super().__init__(port)
        self._appendonly = "yes" if appendonly else "no"
        self._settings = settings

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        return [program("redis-server"), *where, "--save", "", "--appendonly", self._appendonly, *self._settings]

    def answers(self) -> bool:
        return _connects(self.port)

    def copy_log(self) -> Path:
        """A copy of the append-only file as it is now; of a running server's, the last command may be cut off."""
        copy = Path(tempfile.mkdtemp(prefix="copy-", dir=self.folder))
        return Path(shutil.copytree(self.folder / _APPENDED, copy / _APPENDED))

    def put_back(self, copy: Path) -> None:
        """Stop, take an earlier `copy_log` for the append-only file, and start."""
        self.stop()
        shutil.rmtree(self.folder / _APPENDED)
        shutil.copytree(copy, self.folder / _APPENDED)
        self.start()


def kafka_jars() -> Path:
    """The folder of Kafka's jars; fetched once and kept."""
    jars = CACHE / f"kafka-{KAFKA_VERSION}"
    program("java")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        (Path(folder) / "pom.xml").write_text(_POM, encoding="utf-8")
        goal = ["dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"]
        output_of([program("mvn"), "-q", "-B", *goal], cwd=folder)
        os.replace(Path(folder) / "libs", jars)


def _quiet(jars: Path) -> list[str]:
    return ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"]


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ServiceMissing(f"{name} is not on the PATH")
    return path


def output_of(command: Sequence[str], cwd: str | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise ServiceMissing(
            f"{' '.join(command[:4])} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}"
        )
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until_interrupted(say: Callable[[str], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say("Ctrl-C stops them")
    signal.pause()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.services", description=__doc__.splitlines()[0])
    parser.add_argument("--kafka-port", type=int, help="default: a free one")
    parser.add_argument("--redis-port", type=int, help="default: a free one")
    given = parser.parse_args(arguments)
    with KafkaCluster(given.kafka_port) as kafka, RedisService(given.redis_port) as redis:
        print(f"kafka {kafka.bootstrap}\nredis {redis.url}", flush=True)
        _until_interrupted(lambda line: print(line, flush=True))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except ServiceMissing as missing:
        sys.exit(str(missing))
