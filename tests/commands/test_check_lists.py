"""The line of `check` about the topic of lists, without a broker."""

from __future__ import annotations

import pytest

from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.retention import Retention
from stream_worker.commands import check_lists
from stream_worker.commands.check_lists import lists_line

_DAY_MS = 86_400_000
_WANTED = "--add-config cleanup.policy=compact,min.compaction.lag.ms=604800000"


@pytest.mark.parametrize(
    ("found", "words", "to_change"),
    [
        (None, "recommendations, whose settings can't be read", False),
        (Retention(compact=True, lag_ms=7 * _DAY_MS), "everybody's newest list, and every list for 7 days", False),
        (Retention(compact=True), "and every list for 0 days only, in which sums of `events` hold", True),
        (Retention(), "is not compacted and keeps every list for ever", False),
        (Retention(ms=7 * _DAY_MS), "after 7 days (cleanup.policy=delete): a consumer that starts later", True),
        (Retention(ms=_DAY_MS, compact=True), "after 1 day (cleanup.policy=compact,delete)", True),
        (Retention(bytes=5_000), "beyond 5,000 bytes a partition (retention.bytes)", True),
    ],
)
def test_it_says_what_the_policy_means(
    monkeypatch: pytest.MonkeyPatch, found: Retention | None, words: str, to_change: bool
) -> None:
    """And how it is changed, where a reader that starts later would miss something."""
    monkeypatch.setattr(check_lists, "retention_of", lambda config, topic: found)
    line = lists_line(KafkaConfig())
    assert words in line
    assert (_WANTED in line) == to_change
