"""A process that joins the group, begins a transaction, says so, and waits to be killed."""

from __future__ import annotations

import json
import sys
import time

from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource
from tests.backends.contracts_topics import Member, list_for


def main() -> None:
    config = KafkaConfig(**json.loads(sys.argv[1]))
    sink = KafkaSink(config, "a")
    member = Member(KafkaSource(config, "a"))
    member.poll_until(lambda: len(member.owner.owned) == 4)
    producer = sink._producer
    assert producer is not None
    producer.begin()
    producer.produce(config.output_topic, b"u", b'{"never": "committed"}')
    producer.send_offsets(config.input_topic, {0: 1}, member.source.membership())
    print("open", flush=True)
    time.sleep(120)
    print(list_for, file=sys.stderr)


if __name__ == "__main__":
    main()
