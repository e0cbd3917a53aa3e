"""The quality of the lists, measured before each event is learned from (test, then train), beside the baselines.

A *group* is a part of the scored events:

- `all`, or one event type;
- `repeat` (the item is in the user's history) or `new`;
- by the item's age: `unseen` (this is its first event, so nothing could propose it), `cold` or `warm`;
- `new_known`: new and not unseen, so that it could be discovered;
- `not_last`, in all and by event type: the item is not the user's last one. A purchase of what was viewed just before
  is easy to predict, and of little use: this is what the rates are without it.

Before one examined event in eight, the list that would be published is made as well; `after_rules` are the metrics of
these lists, in all, on `repeat` and on `new_known`. All else is about predictions, which no rule has touched.

A *baseline* ranks items by counting, and is scored on the same events. Groups and baselines have the metrics of their
last `window` events and of all their events. A user's first-ever event is counted but not scored. The cut of the stream
into batches changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import orjson
from annotated_types import Ge, Interval, MinLen
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from pydantic import dataclasses as checked

from stream_worker.core.drift import Alarm, DropDetector
from stream_worker.core.quality import Quality
from stream_worker.core.tracks import Proposers, Track

_KEPT_ALARMS = 20
AGES = ("warm", "cold", "unseen")
REPEATS = ("repeat", "new", "new_known")
NOT_LAST = "not_last"
AFTER_RULES = "after_rules"
_AFTER_PARTS = {"all": "", "repeat": ", repeat", "new_known": ", new and known"}  # groups, and their part of a title
# The groups on which baselines are scored, too, by name, with their titles in a summary.
BASELINE_PARTS = {"repeat": "repeat", "new_known": "new and known", NOT_LAST: "not the last item", "cold": "cold"}


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class MonitorConfig:
    """`[monitor]`: how lists are scored, and how drift is looked for in the hit rate."""

    #: Scored events that a rolling metric covers. A hit rate of .5 then has a standard error of .007. Not tuned.
    window: PositiveInt = 5_000
    #: Events of the stream after its first one during which an item counts as cold.
    cold_events: NonNegativeInt = 100
    #: List lengths k of the hit rates. The largest is also the k of MRR and NDCG, and the one whose hit rate is watched
    #: for drift.
    hit_rate_k: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (10, 20)
    #: Confidence of ADWIN; smaller means fewer alarms. The default is River's own.
    drift_delta: Annotated[float, Interval(gt=0, lt=1)] = 0.002
    #: Scored events whose mean is one observation of the drift detector. 2 takes bursts of one user for drift, 64
    #: misses drops (docs/drift.md).
    drift_block: PositiveInt = 16
    #: Observations that the drift detector keeps to compare with.
    drift_memory: Annotated[int, Ge(20)] = 4_000

    @property
    def depth(self) -> int:
        return max(self.hit_rate_k)


_Members = NDArray[np.integer] | slice


class Monitor:
    """Scores events, keeps their metrics in tracks, and raises an alarm when a hit rate drops.

    tracks: by name, `after_rules.<group>`;
        `all`, `type.<event type>`, `repeat`, `new`, `new_known`, `not_last`, `not_last.type.<event type>`,
        `warm`, `cold`, `unseen` and `floor.<baseline>`, and `<group>.<baseline>` for each of BASELINE_PARTS: a baseline
        on this group alone.
    proposers: how many of the events of a window each proposer of candidates found.
    """

    def __init__(self, config: MonitorConfig, type_names: Sequence[str], proposer_names: Sequence[str] = ()) -> None:
        self.config = config
        self.type_names = tuple(type_names)
        self.proposer_names = tuple(proposer_names)
        self._clear()

    def update(
        self,
        ranks_B: NDArray[np.integer],
        logprob_B: NDArray[np.floating],
        type_B: NDArray[np.integer],
        repeat_B: NDArray[np.bool_],
        last_B: NDArray[np.bool_],
        first_B: NDArray[np.bool_],
        age_B: NDArray[np.integer],
        proposer_B: NDArray[np.integer],
        baselines: Mapping[str, NDArray[np.integer]],
    ) -> list[Alarm]:
        """Score a batch of B events. Returns the drift alarms that they raise.

        ranks_B: the rank of the event's item in the list, from 1; 0 if it was not listed.
        logprob_B: the log-probability that the model gave to the item; NaN if it gave none.
        type_B: the event type, by its place in `type_names`.
        repeat_B: True if the item is in the user's history.
        last_B: True if the item is the last one of the user's history.
        first_B: True for a user's first-ever event, which is not scored.
        age_B: events of the stream since the item's first one; -1 if this is its first.
        proposer_B: the proposer of the item, by its place in `proposer_names`; -1 if none proposed it.
        baselines: the ranks of each baseline, as `ranks_B`, by its name.
        """
        self.events += len(ranks_B)
        scored = np.flatnonzero(~first_B)
        if not len(scored):
            return []
        ranks_S, logprob_S, age_S = self._within(ranks_B[scored]), logprob_B[scored], age_B[scored]
        self.proposers.update_many(proposer_B[scored])
        groups = dict(self._groups(type_B[scored], repeat_B[scored], last_B[scored], age_S))
        for name, ranks in baselines.items():
            self._score_baseline(name, self._within(ranks[scored]), groups)
        alarms = []
        for group, members in groups.items():
            self.tracks[group].update_many(ranks_S[members], logprob_S[members])
            if group in self._detectors:
                alarms += self._detectors[group].update_many(ranks_S[members] > 0)
        self.alarms.extend(alarms)
        self.alarm_count += len(alarms)
        return alarms

    def update_after_rules(
        self,
        listed_B: NDArray[np.integer],
        repeat_B: NDArray[np.bool_],
        first_B: NDArray[np.bool_],
        age_B: NDArray[np.integer],
    ) -> None:
        """Score the lists after the rules of a batch of B events.

        listed_B: the rank in that list, from 1; 0 if the item is not in it, -1 if the list was not made.
        repeat_B, first_B, age_B: as in `update`.
        """
        made_B = (listed_B >= 0) & ~first_B
        parts = {"all": made_B, "repeat": made_B & repeat_B, "new_known": made_B & ~repeat_B & (age_B >= 0)}
        for part, is_member_B in parts.items():
            if is_member_B.any():
                self.tracks[f"{AFTER_RULES}.{part}"].update_many(self._within(listed_B[is_member_B]))

    def report(self) -> Quality:
        """Report what was measured. Metrics of no events are 0.0; `events` is 0 then."""
        return Quality(
            events=self.events,
            all=self.tracks["all"].report(),
            by_type={name: self.tracks[f"type.{name}"].report() for name in self.type_names},
            by_repeat={name: self.tracks[name].report() for name in REPEATS},
            by_age={name: self.tracks[name].report() for name in AGES},
            not_last=self.tracks[NOT_LAST].report(),
            not_last_by_type={name: self.tracks[f"{NOT_LAST}.type.{name}"].report() for name in self.type_names},
            after_rules={part: self.tracks[f"{AFTER_RULES}.{part}"].report() for part in _AFTER_PARTS},
            baselines={name: self.tracks[f"floor.{name}"].report() for name in self.baseline_names},
            baselines_by_part={
                part: {name: self.tracks[f"{part}.{name}"].report() for name in self.baseline_names}
                for part in BASELINE_PARTS
            },
        )

    def summary_rows(self) -> list[dict[str, str | float]]:
        """Return rows `name, events, <metric>...` over all scored events: worker, baselines, groups with events."""
        names = {"all": "worker", **{f"floor.{name}": name for name in self.baseline_names}}
        types = self.type_names if len(self.type_names) > 1 else []
        parts = {f"type.{name}": name for name in types} | {name: name for name in (*REPEATS, *AGES)} | BASELINE_PARTS
        parts |= {f"{NOT_LAST}.type.{name}": f"{name}, {BASELINE_PARTS[NOT_LAST]}" for name in types}
        names |= {part: f"worker, {title}" for part, title in parts.items()}
        names |= {f"{AFTER_RULES}.{part}": f"lists after the rules{title}" for part, title in _AFTER_PARTS.items()}
        names |= {
            f"{part}.{name}": f"{name}, {title}"
            for part, title in BASELINE_PARTS.items()
            for name in self.baseline_names
        }
        shown = {track: name for track, name in names.items() if self.tracks[track].events or track == "all"}
        totals = {name: self.tracks[track].report().total for track, name in shown.items()}
        return [{"name": name, "events": total.events, **total.metrics} for name, total in totals.items()]

    @property
    def baseline_names(self) -> list[str]:
        return sorted(name.removeprefix("floor.") for name in self.tracks if name.startswith("floor."))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        alarms = orjson.dumps([asdict(alarm) for alarm in self.alarms])
        state: dict[str, NDArray[Any]] = {
            "counts": np.array([self.events, self.alarm_count], dtype=np.int64),
            "alarms": np.frombuffer(alarms, dtype=np.uint8).copy(),
        }
        for prefix, parts in (("track", self.tracks), ("drift", self._detectors), ("found", {"by": self.proposers})):
            for name, part in parts.items():
                state |= {f"{prefix}.{name}.{key}": array for key, array in part.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Load a state. Drops event types that the configuration no longer has; new ones start empty."""
        self._clear()
        self.events, self.alarm_count = state["counts"].tolist()
        self.alarms.extend(Alarm(**alarm) for alarm in orjson.loads(state["alarms"].tobytes()))
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            part, _, key = name.rpartition(".")
            parts.setdefault(part, {})[key] = array
        for baseline in (part.removeprefix("track.floor.") for part in parts if part.startswith("track.floor.")):
            self._add_baseline(baseline)
        for prefix, owners in (("track", self.tracks), ("drift", self._detectors), ("found", {"by": self.proposers})):
            for name, owner in owners.items():
                if f"{prefix}.{name}" in parts:
                    owner.load_state_dict(parts[f"{prefix}.{name}"])

    def _clear(self) -> None:
        config, types = self.config, [f"type.{name}" for name in self.type_names]
        groups = ("all", *types, *REPEATS, *AGES, NOT_LAST, *(f"{NOT_LAST}.{name}" for name in types))
        self.events = 0
        self.alarm_count = 0
        self.alarms: deque[Alarm] = deque(maxlen=_KEPT_ALARMS)
        self.tracks = {name: self._track(with_loss=True) for name in groups}
        self.tracks |= {f"{AFTER_RULES}.{part}": self._track(with_loss=False) for part in _AFTER_PARTS}
        self.proposers = Proposers(self.proposer_names, config.window)
        self._detectors = {
            name: DropDetector(name.removeprefix("type."), config.drift_delta, config.drift_block, config.drift_memory)
            for name in ("all", *types)
        }

    def _track(self, with_loss: bool) -> Track:
        return Track(self.config.hit_rate_k, self.config.window, with_loss)

    def _within(self, ranks: NDArray[np.integer]) -> NDArray[np.integer]:
        return np.where(ranks <= self.config.depth, ranks, 0)

    def _score_baseline(self, name: str, ranks_S: NDArray[np.integer], groups: Mapping[str, _Members]) -> None:
        self._add_baseline(name)
        self.tracks[f"floor.{name}"].update_many(ranks_S)
        for part in BASELINE_PARTS.keys() & groups.keys():
            self.tracks[f"{part}.{name}"].update_many(ranks_S[groups[part]])

    def _add_baseline(self, name: str) -> None:
        for track in (f"floor.{name}", *(f"{part}.{name}" for part in BASELINE_PARTS)):
            if track not in self.tracks:
                self.tracks[track] = self._track(with_loss=False)

    def _groups(
        self,
        type_S: NDArray[np.integer],
        repeat_S: NDArray[np.bool_],
        last_S: NDArray[np.bool_],
        age_S: NDArray[np.integer],
    ) -> Iterator[tuple[str, _Members]]:
        """Yield name and places of each group that has members here."""
        yield "all", slice(None)
        for kind in np.flatnonzero(np.bincount(type_S)).tolist():
            name = f"type.{self.type_names[kind]}"
            yield name, np.flatnonzero(type_S == kind)
            if len(elsewhere := np.flatnonzero((type_S == kind) & ~last_S)):
                yield f"{NOT_LAST}.{name}", elsewhere
        unseen_S = age_S < 0
        cold_S = ~unseen_S & (age_S < self.config.cold_events)
        parts = {"repeat": repeat_S, "new": ~repeat_S, "new_known": ~repeat_S & ~unseen_S, NOT_LAST: ~last_S}
        parts |= {"warm": ~cold_S & ~unseen_S, "cold": cold_S, "unseen": unseen_S}
        for name, is_member_S in parts.items():
            if is_member_S.any():
                yield name, np.flatnonzero(is_member_S)
