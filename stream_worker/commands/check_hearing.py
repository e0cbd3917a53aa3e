"""`stream-worker check`: says what a worker learns of the partitions that others own."""

from __future__ import annotations

from collections.abc import Collection

from stream_worker.core.amounts import amount
from stream_worker.loop.hearing_config import HearingConfig


def hearing_line(config: HearingConfig, others: Collection[str]) -> str:
    """Return a line about hearing, a warning where other members of the group learn what this worker does not.

    others: the group's members besides this worker.
    """
    if config.enabled:
        return "hearing: on, so a worker learns from the partitions of others, too (hearing.enabled)"
    if not others:
        return "hearing: off, which is good for one worker alone (hearing.enabled)"
    return (
        f"warning: hearing is off, and the group has {amount(len(others), 'other worker')}: each learns from its own "
        "users alone, which makes the lists of all of them worse (hearing.enabled)"
    )
