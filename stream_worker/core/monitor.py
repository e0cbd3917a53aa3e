"""How good the lists are, measured before each event is learned from (test, then train), beside the floors.

A *group* is a part of the scored events: all, one event type, repeats (the item is in the user's history), new ones.
A *floor* is a baseline ranked on the same events. Each has the metrics of its last `window` events and of all of
them. A user's first-ever event is counted but not scored. Nothing here depends on how the stream was cut into batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from river.metrics.base import Metric

from stream_worker.core.drift import Alarm, DropDetector
from stream_worker.core.ranking_metrics import MRR, NDCG, BatchRolling, HitRate, LogLoss, RankCounts, RankingMetric

_KEPT_ALARMS = 20


@dataclass(frozen=True)
class MonitorConfig:
    """`window`: scored events that a rolling metric covers. The largest `hit_rate_k` is also the k of MRR and NDCG,
    and the one that drift is looked for in: in means of `drift_block` events, of which `drift_memory` are kept."""

    window: int = 5_000
    hit_rate_k: tuple[int, ...] = (10, 20)
    drift_delta: float = 0.002
    drift_block: int = 32
    drift_memory: int = 2_000

    def __post_init__(self) -> None:
        for name, bound in (("window", 1), ("drift_block", 1), ("drift_memory", 20)):
            if getattr(self, name) < bound:
                raise ValueError(f"monitor.{name}: must be at least {bound}, got {getattr(self, name)}")
        if not self.hit_rate_k or min(self.hit_rate_k) < 1:
            raise ValueError(f"monitor.hit_rate_k: needs numbers of at least 1, got {self.hit_rate_k}")
        if not 0 < self.drift_delta < 1:
            raise ValueError(f"monitor.drift_delta: must lie between 0 and 1, got {self.drift_delta}")

    @property
    def depth(self) -> int:
        return max(self.hit_rate_k)


class Track:
    """One group's metrics. `rolling` and `total` are River metrics by name, all of one pair of rank counts."""

    def __init__(self, config: MonitorConfig, with_loss: bool) -> None:
        self._ranks = BatchRolling(RankCounts(), config.window)
        self._total_ranks = RankCounts()
        self._losses = BatchRolling(LogLoss(), config.window)
        self._total_loss = LogLoss()
        self.rolling = _metrics(config, self._ranks.obj, self._losses.obj if with_loss else None)
        self.total = _metrics(config, self._total_ranks, self._total_loss if with_loss else None)

    @property
    def events(self) -> int:
        return int(self._total_ranks.total)

    def update_many(self, ranks_B: NDArray[np.integer], logprob_B: NDArray[np.floating] | None = None) -> None:
        self._ranks.update_many(ranks_B)
        self._total_ranks.update_many(ranks_B)
        if logprob_B is not None:
            self._losses.update_many(logprob_B)
            self._total_loss.update_many(logprob_B)

    def report(self) -> dict[str, dict[str, float]]:
        return {
            "rolling": {"events": len(self._ranks), **_values(self.rolling)},
            "total": {"events": self.events, **_values(self.total)},
        }

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "window_ranks": self._ranks.values(),
            "window_logprobs": self._losses.values(),
            "ranks": self._total_ranks.state_dict()["weights"],
            "loss": self._total_loss.state_dict()["loss_weight"],
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._ranks.load(state["window_ranks"])
        self._losses.load(state["window_logprobs"])
        self._total_ranks.load_state_dict({"weights": state["ranks"]})
        self._total_loss.load_state_dict({"loss_weight": state["loss"]})


class Monitor:
    """Tracks by name: `all`, `type.<event type>`, `repeat`, `new`, `floor.<floor>`."""

    def __init__(self, config: MonitorConfig, type_names: Sequence[str]) -> None:
        self.config = config
        self.type_names = tuple(type_names)
        self._clear()

    def update(
        self,
        ranks_B: NDArray[np.integer],
        logprob_B: NDArray[np.floating],
        type_B: NDArray[np.integer],
        repeat_B: NDArray[np.bool_],
        first_B: NDArray[np.bool_],
        floors: Mapping[str, NDArray[np.integer]],
    ) -> list[Alarm]:
        """Score B events: ranks from 1 (0: not in the list), log-probabilities given to what came (NaN: none).
        Returns the drift alarms raised by them."""
        self.events += len(ranks_B)
        scored = np.flatnonzero(~first_B)
        if not len(scored):
            return []
        ranks_S, logprob_S = self._within(ranks_B[scored]), logprob_B[scored]
        for name, ranks in floors.items():
            self._floor(name).update_many(self._within(ranks[scored]))
        alarms = []
        for group, members in self._groups(type_B[scored], repeat_B[scored]):
            self.tracks[group].update_many(ranks_S[members], logprob_S[members])
            if group in self._detectors:
                alarms += self._detectors[group].update_many(ranks_S[members] > 0)
        self.alarms.extend(alarms)
        self.alarm_count += len(alarms)
        return alarms

    def report(self) -> dict[str, Any]:
        """Everything measured, as JSON types; metrics of nothing are 0.0, and `events` says so."""
        return {
            "events": self.events,
            "window": self.config.window,
            **self.tracks["all"].report(),
            "by_type": {name: self.tracks[f"type.{name}"].report() for name in self.type_names},
            "by_repeat": {name: self.tracks[name].report() for name in ("repeat", "new")},
            "floors": {name: self.tracks[f"floor.{name}"].report() for name in self.floor_names},
            "alarm_count": self.alarm_count,
            "alarms": [asdict(alarm) for alarm in self.alarms],
        }

    def summary_rows(self) -> list[dict[str, str | float]]:
        """Rows `name, events, <metric>...` over all scored events: the worker, the floors, then groups with events."""
        names = {"all": "worker", **{f"floor.{name}": name for name in self.floor_names}}
        parts = [f"type.{name}" for name in self.type_names] if len(self.type_names) > 1 else []
        names |= {part: f"worker, {part.removeprefix('type.')}" for part in [*parts, "repeat", "new"]}
        shown = {track: name for track, name in names.items() if self.tracks[track].events or track == "all"}
        return [{"name": name, **self.tracks[track].report()["total"]} for track, name in shown.items()]

    @property
    def floor_names(self) -> list[str]:
        return sorted(name.removeprefix("floor.") for name in self.tracks if name.startswith("floor."))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        alarms = orjson.dumps([asdict(alarm) for alarm in self.alarms])
        state: dict[str, NDArray[Any]] = {
            "counts": np.array([self.events, self.alarm_count], dtype=np.int64),
            "alarms": np.frombuffer(alarms, dtype=np.uint8).copy(),
        }
        for prefix, parts in (("track", self.tracks), ("drift", self._detectors)):
            for name, part in parts.items():
                state |= {f"{prefix}.{name}.{key}": array for key, array in part.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Event types that the configuration no longer has are dropped, new ones start empty."""
        self._clear()
        self.events, self.alarm_count = state["counts"].tolist()
        self.alarms.extend(Alarm(**alarm) for alarm in orjson.loads(state["alarms"].tobytes()))
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            part, _, key = name.rpartition(".")
            parts.setdefault(part, {})[key] = array
        for floor in (part.removeprefix("track.floor.") for part in parts if part.startswith("track.floor.")):
            self._floor(floor)
        for prefix, owners in (("track", self.tracks), ("drift", self._detectors)):
            for name, owner in owners.items():
                if f"{prefix}.{name}" in parts:
                    owner.load_state_dict(parts[f"{prefix}.{name}"])

    def _clear(self) -> None:
        config, types = self.config, [f"type.{name}" for name in self.type_names]
        self.events = 0
        self.alarm_count = 0
        self.alarms: deque[Alarm] = deque(maxlen=_KEPT_ALARMS)
        self.tracks = {name: Track(config, with_loss=True) for name in ("all", *types, "repeat", "new")}
        self._detectors = {
            name: DropDetector(name.removeprefix("type."), config.drift_delta, config.drift_block, config.drift_memory)
            for name in ("all", *types)
        }

    def _within(self, ranks: NDArray[np.integer]) -> NDArray[np.integer]:
        return np.where(ranks <= self.config.depth, ranks, 0)

    def _floor(self, name: str) -> Track:
        if f"floor.{name}" not in self.tracks:
            self.tracks[f"floor.{name}"] = Track(self.config, with_loss=False)
        return self.tracks[f"floor.{name}"]

    def _groups(
        self, type_S: NDArray[np.integer], repeat_S: NDArray[np.bool_]
    ) -> Iterator[tuple[str, NDArray[np.integer] | slice]]:
        """(name, places) of the groups that have members here."""
        yield "all", slice(None)
        for kind in np.flatnonzero(np.bincount(type_S)).tolist():
            yield f"type.{self.type_names[kind]}", np.flatnonzero(type_S == kind)
        for name, members in (("repeat", np.flatnonzero(repeat_S)), ("new", np.flatnonzero(~repeat_S))):
            if len(members):
                yield name, members


def _metrics(config: MonitorConfig, counts: RankCounts, loss: LogLoss | None) -> dict[str, Metric]:
    ranking: list[RankingMetric] = [HitRate(k, counts) for k in config.hit_rate_k]
    ranking += [MRR(config.depth, counts), NDCG(config.depth, counts)]
    named: dict[str, Metric] = {metric.name: metric for metric in ranking}
    return named if loss is None else {**named, loss.name: loss}


def _values(by_name: Mapping[str, Metric]) -> dict[str, float]:
    return {name: metric.get() for name, metric in by_name.items()}
