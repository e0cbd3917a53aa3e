"""`make chaos`: play the scenarios, print one line for each, and fail where a promise was broken or nothing was shown.

python -m tests.chaos [--short] [--only 1,3,5] [--log clicks.csv --mapping examples/canonical.toml] [--json FILE]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import machine, write
from tests.chaos.logs import made_up, recorded
from tests.chaos.scenario import NotShown, Scenario, Seen, Skipped, Stage
from tests.chaos.scenarios import SCENARIOS
from tests.support.services import KafkaCluster, RedisService

_LANES = 2
_MOST_LINES = 200  # of a worker's log that are printed where a promise was broken
_TELLING = re.compile(r"warning|error|critical|partitions (claimed|given up)|Traceback|^\w*Error", re.I)


@dataclass
class Line:
    """What the table says of one scenario."""

    number: int
    name: str
    protocol: str
    result: str
    seconds: float
    seen: Seen

    def __str__(self) -> str:
        seen = ", ".join(f"{name} {value}" for name, value in self.seen.items())
        return (
            f"{self.number:>2}  {self.name:<34}  {self.protocol:<8}  {self.result:<7}  {self.seconds:>6.0f} s  {seen}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the form for CI: fewer events and kills")
    parser.add_argument("--only", default="", help="numbers of scenarios, separated by commas")
    parser.add_argument("--protocol", choices=["classic", "consumer"], help="only under this group protocol")
    parser.add_argument("--log", type=Path, help="a recorded log to replay (default: a made-up one)")
    parser.add_argument("--mapping", type=Path, help="its mapping file")
    parser.add_argument("--limit", type=int, default=100_000, help="how many of its rows")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--json", type=Path, help="write the table here, too, as benchmarks.tables reads it")
    given = parser.parse_args(arguments)
    lines = []
    with ExitStack() as services:
        stage = Stage(
            services.enter_context(KafkaCluster()),
            services.enter_context(RedisService(appendonly=True)),
            Path(services.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))),
            recorded(given.log, given.mapping, given.limit) if given.log else made_up(given.seed),
            given.short,
            "classic",
            given.seed,
        )
        for line in played(stage, list(chosen(given)), _LANES if given.short else 1):
            lines.append(line)
            print(line, flush=True)
    if given.json:
        write(given.json, figures(lines, given.short))
    return int(any(line.result in ("FAILED", "unclear") for line in lines))


def figures(lines: Sequence[Line], short: bool) -> dict[str, Any]:
    """Return the table as `benchmarks.tables` reads it."""
    return {**machine(), "form": "short" if short else "full", "scenarios": [asdict(line) for line in lines]}


def chosen(given: argparse.Namespace) -> Iterator[tuple[Scenario, str]]:
    numbers = {int(number) for number in given.only.split(",") if number}
    for scenario in SCENARIOS:
        if scenario.number in numbers or (not numbers and (scenario.in_short or not given.short)):
            for protocol in scenario.protocols:
                if given.protocol in (None, protocol):
                    yield scenario, protocol


def played(stage: Stage, chosen: Sequence[tuple[Scenario, str]], lanes: int) -> Iterator[Line]:
    """In their order, so many at a time: most of each is waiting."""
    if lanes == 1:
        yield from (play(scenario, stage, protocol) for scenario, protocol in chosen)
        return
    with ThreadPoolExecutor(lanes) as threads:
        yield from threads.map(lambda each: play(each[0], stage, each[1]), chosen)


def play(scenario: Scenario, stage: Stage, protocol: str) -> Line:
    """One scenario. In the short form a second time where nothing was shown, since the machine was too slow or what it
    is about did not happen; a broken promise is final."""
    line = _play_once(scenario, stage, protocol)
    if line.result == "unclear" and stage.short:
        print(line, flush=True)
        line = _play_once(scenario, stage, protocol)
    return line


def _play_once(scenario: Scenario, stage: Stage, protocol: str) -> Line:
    """In a folder of its own; the evidence of a failure goes to standard error."""
    line = Line(scenario.number, scenario.name, protocol, "held", 0.0, {})
    folder = stage.folder / f"{scenario.number}-{scenario.name.split()[0]}-{protocol}-{time.monotonic_ns()}"
    folder.mkdir()
    start = time.monotonic()
    try:
        line.seen = scenario.run(Stage(stage.kafka, stage.redis, folder, stage.log, stage.short, protocol, stage.seed))
    except Skipped as reason:
        line.result, line.seen = "skipped", {"reason:": str(reason)}
    except Exception as fault:
        traceback.print_exc()
        _print_evidence(folder)
        line.result = "unclear" if isinstance(fault, TimeoutError | NotShown) else "FAILED"
        line.seen = {"reason:": (str(fault).splitlines() or [repr(fault)])[0][:300]}
    line.seconds = time.monotonic() - start
    return line


def _print_evidence(folder: Path) -> None:
    """What the workers said of partitions, transactions and memories, and all of their warnings."""
    for log in sorted(folder.rglob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        told = [line for line in lines if _TELLING.search(line)]
        print(f"--- {log.name}, {len(lines)} lines", *told[-_MOST_LINES:], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
