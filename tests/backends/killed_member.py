"""A process that joins the group, begins a transaction, says so, and waits to be killed.

python -m tests.backends.killed_member CONFIG TRANSACTION_TIMEOUT_SECONDS
"""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import TopicPartition

from stream_worker.backends.kafka import KafkaConfig, KafkaSource, config
from stream_worker.backends.kafka.producer import TransactionalProducer
from stream_worker.logs import configure
from tests.backends.contracts_topics import Member


def main(settings: str, timeout_seconds: str) -> None:
    configure()
    kafka = KafkaConfig(**json.loads(settings))
    short = {"transaction.timeout.ms": int(timeout_seconds) * 1000}
    producer = TransactionalProducer(config.transaction_settings(kafka, "a") | short)
    member = Member(KafkaSource(kafka, "a"))
    member.poll_until(lambda: len(member.owner.owned) == 4)
    producer.begin()
    producer.produce(kafka.output_topic, b"u", b'{"never": "committed"}')
    producer.send_offsets([TopicPartition(kafka.input_topic, 0, 1)], member.source.membership())
    print("open", flush=True)
    time.sleep(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
