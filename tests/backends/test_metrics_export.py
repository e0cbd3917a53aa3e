"""Metrics follow the status of a tick: counters once, gauges at once, and histograms only with events."""

from __future__ import annotations

import math
from collections import Counter, deque

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_worker.backends.in_memory import ManualClock
from stream_worker.backends.metric import PREFIX
from stream_worker.backends.metric_definitions import WorkerMetrics
from stream_worker.backends.metrics import Health
from stream_worker.backends.metrics_export import MetricsObserver
from stream_worker.core.quality import Figures, GroupQuality, Quality
from stream_worker.core.status import (
    DRAINING,
    Catalogue,
    Checkpoints,
    Consuming,
    Drift,
    Learning,
    Memory,
    Publishing,
    Standing,
    Status,
)


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics, self.health = WorkerMetrics(self.clock), Health(self.clock, stall_seconds=30)
        self.observer = MetricsObserver(self.metrics, self.health)

    def tick(self, status: Status) -> dict[str, float]:
        """Show a status. Returns all samples, as `name{label=value}` without the prefix."""
        self.observer.ticked(status)
        return self.shown()

    def shown(self) -> dict[str, float]:
        """Return all samples as they are now."""
        families = text_string_to_metric_families(generate_latest(self.metrics.registry).decode())
        return {
            s.name.removeprefix(PREFIX) + "".join(f"{{{k}={v}}}" for k, v in sorted(s.labels.items())): s.value
            for family in families
            for s in family.samples
        }


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_counter_grows_by_what_came_since_the_last_tick(scene: Scene) -> None:
    """The status counts from the start; seeing the same status again adds nothing."""
    status = Status(
        consuming=Consuming(events=5, records=7, dead_letters=Counter(NotJson=2)),
        publishing=Publishing(lists=4),
        drift=Drift(alarms=Counter(all=1), answers=Counter(rate=2)),
        learning=Learning(steps_skipped=Counter(encoder=3), users_rebuilt=6),
    )
    scene.tick(status)
    shown = scene.tick(status)
    assert (shown["events_processed_total"], shown["records_polled_total"]) == (5, 7)
    assert shown["dead_letters_total{error=NotJson}"] == 2
    assert shown["drift_alarms_total{detector=all}"] == 1
    assert (shown["drift_answers_total{answer=rate}"], shown["drift_answers_total{answer=rollback}"]) == (2, 0)
    assert (shown["steps_skipped_total{part=encoder}"], shown["steps_skipped_total{part=ranker}"]) == (3, 0)
    assert shown["users_rebuilt_total"] == 6
    status.consuming.events, status.consuming.records = 8, 12
    status.consuming.dead_letters["NotJson"] += 2
    shown = scene.tick(status)
    assert (shown["events_processed_total"], shown["records_polled_total"]) == (8, 12)
    assert shown["dead_letters_total{error=NotJson}"] == 4


def test_a_batch_is_observed_once_and_a_tick_without_events_not_at_all(scene: Scene) -> None:
    status = Status(consuming=Consuming(events=3, batch_events=3), stage_seconds={"poll": 0.1, "learn": 0.2})
    scene.tick(status)
    status.stage_seconds = {"poll": 0.05}
    shown = scene.tick(status)
    assert (shown["batch_events_count"], shown["batch_events_sum"]) == (1, 3)
    assert shown["tick_seconds_count{stage=learn}"] == 1
    assert shown["tick_seconds_count{stage=poll}"] == 1


@pytest.mark.parametrize(("batch", "observed"), [(1, [9]), (2, [8, 9]), (4, [6, 8, 9]), (7, [3, 6, 9])])
def test_of_a_batch_the_first_the_middle_and_the_last_latency_are_observed(
    scene: Scene, batch: int, observed: list[int]
) -> None:
    """Latencies of earlier batches stand in the same list, and are never observed again."""
    latencies = deque(map(float, range(10)))
    shown = scene.tick(Status(consuming=Consuming(events=batch, batch_events=batch, latencies=latencies)))
    assert shown["publish_latency_seconds_count"] == len(observed)
    assert shown["publish_latency_seconds_sum"] == sum(observed)


def test_gauges_show_the_state_after_the_tick(scene: Scene) -> None:
    status = Status(
        consuming=Consuming(lag={0: 3, 2: 0}),
        catalogue=Catalogue(items=40),
        memory=Memory(users_on_device=7, rows_pending=2),
        learning=Learning(rate=0.003),
    )
    shown = scene.tick(status)
    assert (shown["partition_lag{partition=0}"], shown["partition_lag{partition=2}"]) == (3, 0)
    assert (shown["partitions_owned"], shown["items_live"], shown["users_on_device"]) == (2, 40, 7)
    assert (shown["rows_pending"], shown["learning_rate"]) == (2, 0.003)
    status.consuming.lag, status.learning.rate_factor, status.learning.referees = {}, 1.5, {"ranker": (3.0, 2.5)}
    shown = scene.tick(status)
    assert shown["learning_rate_factor"] == 1.5
    assert shown["referee_loss{part=ranker}{weights=fast}"] == 3.0
    assert shown["referee_loss{part=ranker}{weights=slow}"] == 2.5
    assert shown["partitions_owned"] == 0
    assert "partition_lag{partition=0}" not in shown


def test_the_lag_of_a_partition_that_went_away_disappears(scene: Scene) -> None:
    """Two workers that both show a partition's lag would count it twice."""
    scene.tick(Status(consuming=Consuming(lag={0: 7, 1: 9})))
    shown = scene.tick(Status(consuming=Consuming(lag={1: 4})))
    assert shown["partition_lag{partition=1}"] == 4
    assert "partition_lag{partition=0}" not in shown


def test_ages_grow_by_themselves_while_the_loop_stands_still(scene: Scene) -> None:
    now = scene.clock.now()
    scene.observer.ticked(Status(consuming=Consuming(last_event_ts=now - 5), checkpoints=Checkpoints(last_ts=now)))
    scene.clock.sleep(60)
    shown = scene.shown()
    assert (shown["last_event_age_seconds"], shown["checkpoint_age_seconds"]) == (65, 60)


def test_an_age_is_nan_before_the_first_and_never_negative(scene: Scene) -> None:
    """Events may carry times of up to a day ahead."""
    before = scene.shown()
    assert math.isnan(before["last_event_age_seconds"])
    assert before["unwritten_seconds"] == 0
    shown = scene.tick(Status(consuming=Consuming(last_event_ts=scene.clock.now() + 3600)))
    assert shown["last_event_age_seconds"] == 0
    assert math.isnan(shown["checkpoint_age_seconds"])


def test_a_loss_stays_where_it_is_after_a_step_without_one(scene: Scene) -> None:
    assert scene.tick(Status(learning=Learning(losses={"encoder": 5.0})))["encoder_loss"] == 5
    shown = scene.tick(Status(learning=Learning(losses={"encoder": math.nan, "ranker": 2.0})))
    assert (shown["encoder_loss"], shown["ranker_loss"]) == (5, 2)


def test_a_referee_without_examples_shows_nan(scene: Scene) -> None:
    """The series is there from the first tick."""
    shown = scene.tick(Status(learning=Learning(referees={"encoder": (math.nan, 2.0)})))
    assert math.isnan(shown["referee_loss{part=encoder}{weights=fast}"])


def test_a_checkpoint_is_observed_once(scene: Scene) -> None:
    status = Status(checkpoints=Checkpoints(written=1, seconds=0.3, bytes=77, last_ts=scene.clock.now()))
    scene.tick(status)
    scene.clock.sleep(4)
    shown = scene.tick(status)
    assert (shown["checkpoint_seconds_count"], shown["checkpoint_bytes"]) == (1, 77)
    assert shown["checkpoint_age_seconds"] == 4


def test_quality_is_shown_by_ranker_type_and_novelty_where_there_are_events(scene: Scene) -> None:
    """A group without scored events has no series: 0 would read as "never right"."""
    metrics = {"hit_rate@10": 0.2, "hit_rate@20": 0.5, "mrr@20": 0.1, "ndcg@20": 0.15, "log_loss": 2.0}
    baseline = {name: value / 2 for name, value in metrics.items() if name != "log_loss"}
    group, empty = (GroupQuality(rolling=Figures(events, metrics)) for events in (10, 0))
    status = Status(
        quality=Quality(
            all=group,
            by_type={"view": group, "cart": empty},
            by_repeat={"new": group, "repeat": empty},
            not_last=group,
            not_last_by_type={"view": group, "cart": empty},
            baselines={"co_visitation": GroupQuality(rolling=Figures(10, baseline))},
            baselines_by_part={"new_known": {"co_visitation": GroupQuality(rolling=Figures(10, baseline))}},
        )
    )
    shown = scene.tick(status)
    assert shown["hit_rate_20{novelty=all}{ranker=worker}{type=all}"] == 0.5
    assert shown["mrr{novelty=all}{ranker=worker}{type=view}"] == 0.1
    assert shown["log_loss{novelty=new}{ranker=worker}{type=all}"] == 2.0
    assert shown["hit_rate_20{novelty=all}{ranker=co_visitation}{type=all}"] == 0.25
    assert shown["hit_rate_20{novelty=new_known}{ranker=co_visitation}{type=all}"] == 0.25
    assert shown["hit_rate_20{novelty=not_last}{ranker=worker}{type=view}"] == 0.5
    assert not [name for name in shown if "type=cart" in name or "novelty=repeat" in name]
    assert "log_loss{novelty=all}{ranker=co_visitation}{type=all}" not in shown


def test_every_tick_is_a_sign_of_life_and_readiness_is_passed_on(scene: Scene) -> None:
    """A tick without events counts, too: waiting is not hanging."""
    scene.tick(Status())
    scene.clock.sleep(31)
    assert not scene.health.alive()[0]
    assert scene.tick(Status())["ready"] == 0
    assert scene.health.alive()[0]
    status = Status(standing=Standing(True, "owns 3 of the partitions"))
    assert scene.tick(status)["ready"] == 1
    assert scene.health.is_ready() == (True, "owns 3 of the partitions")
    status.standing = DRAINING
    assert scene.tick(status)["ready"] == 0


def test_a_wait_grows_while_nothing_ticks_and_ends_readiness_after_a_minute(scene: Scene) -> None:
    """The reason may change meanwhile; what goes on in between begins anew."""
    status = Status(standing=Standing(True, "owns 1 of the partitions"), waiting="redis: away")
    assert scene.tick(status)["waiting_seconds"] == 0
    scene.clock.sleep(59)
    status.waiting = "redis: wrong password"
    shown = scene.tick(status)
    assert (shown["waiting_seconds"], shown["ready"]) == (59, 1)
    scene.clock.sleep(1)
    assert scene.health.is_ready() == (
        False,
        "owns 1 of the partitions; waiting for 60 s: redis: wrong password",
    )
    assert scene.health.alive()[0]
    status.waiting = ""
    shown = scene.tick(status)
    assert (shown["waiting_seconds"], shown["ready"]) == (0, 1)


def test_an_idle_worker_has_an_old_checkpoint_and_nothing_unwritten(scene: Scene) -> None:
    """The age alone would ring the alert in every quiet night."""
    status = Status(checkpoints=Checkpoints(written=1, last_ts=scene.clock.now()))
    scene.tick(status)
    scene.clock.sleep(900)
    shown = scene.tick(status)
    assert (shown["checkpoint_age_seconds"], shown["unwritten_seconds"]) == (900, 0)
    status.checkpoints.unwritten_since = scene.clock.now()
    scene.tick(status)
    scene.clock.sleep(7)
    assert scene.tick(status)["unwritten_seconds"] == 7
