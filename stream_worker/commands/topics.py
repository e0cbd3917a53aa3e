"""`stream-worker topics`: creates the topics of the configuration."""

from __future__ import annotations

from pathlib import Path

from stream_worker.backends.kafka import create_topics, partition_counts
from stream_worker.commands.options import settings_from
from stream_worker.core.amounts import amount


def command(action: str, config_path: Path | None, partitions: int) -> None:
    kafka = settings_from(config_path).kafka
    made = create_topics(kafka, kafka.all_topics, partitions)
    counts = dict.fromkeys(kafka.all_topics, partitions) | partition_counts(kafka)
    for topic in kafka.all_topics:
        print(f"{'made ' if topic in made else 'there'}  {topic} ({amount(counts[topic], 'partition')})")
