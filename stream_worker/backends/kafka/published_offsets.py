"""Y of the input topic's partitions as the group has committed it, and how many partitions there are and were."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from confluent_kafka import Consumer

from stream_worker.backends.kafka.config import KafkaConfig
from stream_worker.backends.kafka.identity import TopicIdentity
from stream_worker.backends.kafka.starts import begin, committed, count_partitions
from stream_worker.core.interfaces import PartitionOwner
from stream_worker.core.missing_offsets import first_partitions, most_partitions, of_this_topic
from stream_worker.core.offsets import Committed, Kept, Mark


class PublishedOffsets:
    """Reads Y of the partitions, and commits one where there is none.

    All methods that take a consumer raise KafkaException if the brokers do not answer.
    """

    def __init__(self, config: KafkaConfig, identity: TopicIdentity) -> None:
        self._config, self._identity = config, identity
        self._partitions = self._first_partitions = 0

    def ask(
        self, consumer: Consumer, owner: PartitionOwner, partitions: Collection[int]
    ) -> tuple[dict[int, Committed], dict[int, int]]:
        """Return Y of the partitions, after committing one for those that have none; and, per partition, the offset up
        to which earlier readers found no record. Raises RestartNeeded if the topic was made again, and Unavailable.

        Other partitions are asked about only if one of these has no Y, or if no mark says how many partitions there
        were at first: the broker's answer waits until their owners have no transaction open.
        """
        self._identity.confirm(consumer)
        now = count_partitions(consumer, self._config.input_topic)
        known, kept = self._committed(consumer, partitions), dict(owner.kept(partitions))
        fresh = set(partitions) - known.keys()
        if fresh or not any(at.mark.partitions for at in known.values()):
            known, kept = self._committed(consumer, range(now)), dict(owner.kept(range(now)))
        self._first_partitions = first_partitions(list(known.values()), kept, now)
        self._partitions = most_partitions(kept, now)
        if fresh:
            known |= begin(consumer, self._config, kept, self._mark(), fresh)
        stood = {p: self._stood(kept[p], known[p].mark) for p in partitions}
        return {p: self._with_numbers(known[p]) for p in partitions}, stood

    def _with_numbers(self, at: Committed) -> Committed:
        mark = replace(at.mark, partitions=self._first_partitions)
        return replace(at, mark=mark, partitions=self._partitions)

    def look_for_more(self, consumer: Consumer) -> int:
        """Ask whether the topic has grown; return the number of partitions that it has now."""
        now = count_partitions(consumer, self._config.input_topic)
        self._partitions = max(self._partitions, now)
        return now

    def moved_from(self) -> Collection[int]:
        """Return all partitions if the topic has grown since the group began, else none."""
        return self.partitions() if self._partitions > self._first_partitions else ()

    def partitions(self) -> Collection[int]:
        """Return all partitions that the topic has, or once had."""
        return range(self._partitions)

    def _committed(self, consumer: Consumer, partitions: Collection[int]) -> dict[int, Committed]:
        return of_this_topic(committed(consumer, self._config.input_topic, partitions), self._identity.known)

    def _mark(self) -> Mark:
        known = self._identity.known
        return Mark(partitions=self._first_partitions, topic_id=known.topic_id, cluster_id=known.cluster_id)

    def _stood(self, kept: Kept, mark: Mark) -> int:
        return max(mark.stood, 0 if kept.is_of_another(self._identity.known.topic_id) else kept.stood)
