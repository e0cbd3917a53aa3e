"""Quality of lists as readers of the output topic have it: by one `run` process, by two, and by two of which one dies.

    python -m benchmarks.quality.on_kafka LOG [--mapping M] [--rows N] [--pace R] [--apart S] [--backlog N]

Real processes on a real Kafka and Redis, with the defaults, but for a group's session of 6 s. Each run produces the
same events of a log to topics of its own at the same steady pace, by default a quarter of what one process reaches at
full effort here, and is scored from the topics alone (`published.py`). Of two processes each hears the other's users
and they share weights. The last run kills one with -9 after two thirds, and its lists are held against those of the run
of two for the same events.

So many events a second put a week of a log into minutes, and a user's next click would come before the list of the one
before. So the events of a user are produced at least a second apart, others in between, with the time of then.

To be seen: the hit rate of two within .01 of one's; the other publishes for a killed one's users within the session and
2 s (and what is left of its transaction), and hits as often over the next 2,000 events (two standard errors). Ends with
1 where it is not. Broker, store, producer and workers share the machine. Writes
benchmarks/results/quality-on-kafka.json.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.one_pass import CANONICAL
from benchmarks.quality.paced import SESSION_SECONDS, Death, Played, full_effort, made_scene, played, spaced
from benchmarks.quality.published import NO_LIST, Scored
from benchmarks.quality.scored import hit_rate, reciprocal_rank, standard_error
from benchmarks.record import machine, save
from tests.chaos.logs import recorded
from tests.support.scene import Scene
from tests.support.services import KAFKA_VERSION, KafkaCluster, RedisService

MARGIN_SECONDS = 2.0  # that a takeover may take beyond the session
AFTER = 2_000  # events after a kill whose lists are held against those of the run without one
_MOST_APART, _MOST_ERRORS = 0.01, 2.0  # the bars
_WARM_UP = 1 / 4  # share of the events that are not scored
_ONE, _TWO, _KILLED = "one process", "two processes", "two, one of them killed"


def chosen(run: Scored) -> NDArray[np.bool_]:
    """Return which events are scored: those behind the warm-up, but for each user's first event."""
    return (run.at_ms_E >= np.quantile(run.at_ms_E, _WARM_UP)) & ~run.first_E


def run_figures(name: str, run: Played, chosen_E: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the figures of a run over the chosen events."""
    of = run.scored.at(chosen_E)
    rate = hit_rate(of.rank_E)
    return {
        "run": name,
        "events": len(of),
        "hit_rate": round(rate, 4),
        "error": round(standard_error(rate, len(of)), 4),
        "mrr": round(reciprocal_rank(of.rank_E), 4),
        "hit_rate_whenever": round(hit_rate(of.rank_whenever_E), 4),
        "no_list": int((of.rank_E == NO_LIST).sum()),
        "stale_share": round(float(of.stale_E.mean()), 4),
        "wait_ms": {f"p{p}": round(float(np.percentile(of.wait_ms_E, p))) for p in (50, 99, 100)},
        "largest_lag": int(run.standing.lag),
        "least_effort": run.standing.effort,
        "least_heard_share": run.standing.heard_share,
        "lines_of_weights": int(run.standing.lines),
    }


def paired(a: Scored, b: Scored, chosen_E: NDArray[Any]) -> dict[str, Any]:
    """Return by how much `b` hits more than `a` on the same events, by the lists of then and whenever they came."""
    assert a.are_those_of(b)
    found: dict[str, Any] = {"events": len(a.at(chosen_E))}
    for name in ("rank", "rank_whenever"):
        one, other = (_hits(vars(run)[f"{name}_E"][chosen_E]) for run in (a, b))
        change = other - one
        error = float(change.std(ddof=1) / np.sqrt(len(change)))
        figures = {"a": one.mean(), "b": other.mean(), "difference": change.mean(), "error": error}
        found[name] = {key: round(float(value), 4) for key, value in figures.items()}
    return found


def _hits(rank_E: NDArray[np.int64]) -> NDArray[np.float64]:
    return (rank_E > 0).astype(np.float64)


def takeover_seconds(run: Played, death: Death) -> dict[int, float]:
    """Return for each partition that a dead worker had the seconds from the kill to the first list by another."""
    before, after = defaultdict[int, tuple[int, str]](lambda: (-1, "")), dict[int, int]()
    for partition, at_ms, line in _published(run):
        slot = line.partition("-")[0]
        if at_ms <= death.at_ms or slot == death.slot:
            before[partition] = max(before[partition], (at_ms, slot))
        else:
            after[partition] = min(after.get(partition, at_ms), at_ms)
    theirs = sorted(partition for partition, (_, slot) in before.items() if slot == death.slot)
    return {partition: (after.get(partition, np.inf) - death.at_ms) / 1000 for partition in theirs}


def _published(run: Played) -> Iterator[tuple[int, int, str]]:
    """Yield partition, time and line of each list."""
    for lists in run.lists.values():
        for at_ms, line in zip(lists.at_ms, lists.lines, strict=True):
            yield lists.partition, at_ms, line


def death_figures(alive: Played, run: Played, death: Death) -> dict[str, Any]:
    """Return how a killed worker's users were served by the other, and what it cost beside a run without a kill."""
    seconds = takeover_seconds(run, death)
    over_ms = death.at_ms + 1000 * max(seconds.values())
    return {
        "session_seconds": SESSION_SECONDS,
        "transaction_open_seconds": round(death.open_seconds, 2),
        "seconds": {str(partition): round(value, 2) for partition, value in seconds.items()},
        "first_seconds": round(min(seconds.values()), 2),
        "last_seconds": round(max(seconds.values()), 2),
        "after_kill": paired(alive.scored, run.scored, _next(run.scored, death.at_ms)),
        "after_takeover": paired(alive.scored, run.scored, _next(run.scored, over_ms)),
    }


def _next(run: Scored, at_ms: float) -> NDArray[np.int64]:
    """Return the next `AFTER` events from a time on, but for each user's first."""
    order_E = np.argsort(run.at_ms_E, kind="stable")
    later_E = order_E[(run.at_ms_E >= at_ms)[order_E] & ~run.first_E[order_E]]
    return later_E[:AFTER]


def missed(result: Mapping[str, Any]) -> list[str]:
    """Return what the figures miss."""
    apart, death = result["two_beside_one"]["rank"]["difference"], result["killed"]
    most = death["session_seconds"] + MARGIN_SECONDS + death["transaction_open_seconds"]
    change = death["after_takeover"]["rank"]
    misses = {
        f"two hit {apart:+.4f} beside one, at most {_MOST_APART} is allowed": abs(apart) > _MOST_APART,
        f"a takeover took {death['last_seconds']} s, at most {most:.1f} s is allowed": death["last_seconds"] > most,
        f"{change['difference']:+.4f} after the takeover, with a standard error of {change['error']}": abs(
            change["difference"]
        )
        > _MOST_ERRORS * change["error"],
    }
    return [text for text, is_missed in misses.items() if is_missed]


# -- the benchmark -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("log", type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", type=click.Path(exists=True, path_type=Path), default=CANONICAL)
@click.option("--rows", default=30_000, show_default=True, help="Events of each run; twice as many are read.")
@click.option("--pace", type=float, help="Events a second [default: a quarter of the rate at full effort].")
@click.option("--apart", default=1.0, show_default=True, help="Seconds between two events of a user, at the least.")
@click.option("--backlog", default=15_000, show_default=True, help="Rows by which full effort is measured.")
def main(log: Path, mapping: Path, rows: int, pace: float | None, apart: float, backlog: int) -> None:
    """Print the figures of the runs. End with 1 where a bar is missed."""
    found = recorded(log, mapping, 2 * rows)
    with KafkaCluster() as kafka, RedisService() as redis, tempfile.TemporaryDirectory() as folder:

        def scene(name: str) -> Scene:
            (Path(folder) / name).mkdir()
            return made_scene(kafka.bootstrap, redis.url, Path(folder) / name)

        full = full_effort(scene("full"), found[:backlog])
        print(f"full effort: {full:,.0f} events/s", flush=True)
        pace = pace or full / 4
        events = spaced(found, ceil(pace * apart))[:rows]
        one = played(scene("one"), "a", events, pace)
        scored_E = chosen(one.scored)
        runs = [_said(run_figures(_ONE, one, scored_E))]
        two = played(scene("two"), "ab", events, pace)
        runs.append(_said(run_figures(_TWO, two, scored_E)))
        less = played(scene("killed"), "ab", events, pace, dies="b")
        runs.append(_said(run_figures(_KILLED, less, scored_E)))
    assert less.death is not None
    result = {
        **machine(),
        "kafka": KAFKA_VERSION,
        "log": log.stem,
        "events": len(events),
        "seconds_apart": apart,
        "full_effort_events_per_second": round(full),
        "events_per_second": round(pace, 1),
        "runs": runs,
        "two_beside_one": _said(paired(one.scored, two.scored, scored_E)),
        "killed": _said(death_figures(two, less, less.death)),
    }
    save("quality-on-kafka", result)
    misses = missed(result)
    print("\n".join(misses) or "all as it must be")
    raise SystemExit(bool(misses))


def _said(figures: dict[str, Any]) -> dict[str, Any]:
    print(figures, flush=True)
    return figures


if __name__ == "__main__":
    main()
