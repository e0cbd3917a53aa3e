"""Scenario 5 goes on: a Redis Cluster, or a master under a sentinel, fails over under a steady stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.under_load import Play, membership_kept, playing
from tests.support.redis_services import MASTER, RedisCluster, RedisSentinel, Server


def cluster_masters_killed(stage: Stage) -> Seen:
    """One after another, the master that numbers the items and one that keeps a partition: `kill -9`, its replica takes
    over, and it comes back as that one's replica."""
    with RedisCluster() as cluster, playing(_with(stage, cluster)) as play:
        keys = [f"stream-worker:{{{play.scene.group}:{play.scene.topic}:{of}}}" for of in ("items", "0")]
        with play.streaming(), membership_kept(play):
            resumed = [_fail_over_of(play, cluster, key) for key in keys]
        return _judged(play, resumed_seconds=resumed)


def cluster_master_hangs(stage: Stage) -> Seen:
    """SIGSTOP until its replica has taken over; what it acknowledged last, the replica may never have heard of."""
    with RedisCluster() as cluster, playing(_with(stage, cluster)) as play:
        victim = cluster.master_of(f"stream-worker:{{{play.scene.group}:{play.scene.topic}:0}}")
        replica = cluster.replica_of(victim)
        with play.streaming(), membership_kept(play):
            victim.pause()
            try:
                play.fleet.wait_for(lambda: cluster.is_master(replica), "that its replica takes over", 60)
                resumed = play.advance("progress without a master that hangs")
            finally:
                victim.resume()
            cluster.wait()
        return _judged(play, resumed_seconds=resumed)


def sentinel_master_killed(stage: Stage) -> Seen:
    """`kill -9`, and the sentinel names its replica."""
    environment = {"MEMORY__SENTINEL_MASTER": MASTER}
    with RedisSentinel() as service, playing(_with(stage, service), environment=environment) as play:
        with play.streaming(), membership_kept(play):
            victim = service.master()
            resumed = _fail_over(play, victim, lambda: service.master() is not victim, service.wait)
        return _judged(play, resumed_seconds=resumed)


def _with(stage: Stage, redis: Any) -> Stage:
    """All that a scene wants to know of its Redis is a URL."""
    return replace(stage, redis=redis)


def _fail_over_of(play: Play, cluster: RedisCluster, key: str) -> float:
    victim = cluster.master_of(key)
    replica = cluster.replica_of(victim)
    return _fail_over(play, victim, lambda: cluster.is_master(replica), cluster.wait)


def _fail_over(play: Play, victim: Server, taken_over: Callable[[], bool], whole: Callable[[], None]) -> float:
    """What starts again before that has no data, and gives its replica none."""
    victim.kill()
    play.fleet.wait_for(taken_over, "that its replica takes over", 60)
    resumed = play.advance(f"progress without {victim.port}")
    play.go_on(play.seconds(1, 5))
    victim.start()
    whole()
    play.advance("progress with a replica again")
    return resumed


def _judged(play: Play, **seen: object) -> Seen:
    noticed = sum(len(play.logged(slot, "memories lost, claiming again")) for slot in ("a", "b"))
    assert noticed > 0, "no worker has noticed"
    return play.judged(**seen, noticed=noticed)


FAILOVERS = [
    Scenario(5, "two masters of a cluster killed", cluster_masters_killed, in_short=False),
    Scenario(5, "master of a cluster hangs", cluster_master_hangs, in_short=False),
    Scenario(5, "master under a sentinel killed", sentinel_master_killed, in_short=False),
]
