"""Writes decisions on items, and waits until each is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_worker.backends.kafka.config import KafkaConfig, writer_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.core.decisions import Decision, encode_decision
from stream_worker.core.errors import Unavailable

_ANSWER_SECONDS = 30.0  # to wait for the answer to one record; not tuned
_AT_ONCE = 10_000  # decisions that wait for their answers; librdkafka's queue takes ten times as many


def write_decisions(config: KafkaConfig, decisions: Iterable[Decision]) -> Iterator[tuple[Decision, int, int]]:
    """Write decisions in their order, by an idempotent producer, to all replicas in sync. Yield each with its partition
    and offset once it is written. Raises Unavailable at the first that is not."""
    settings = {**writer_settings(config), "message.timeout.ms": int(_ANSWER_SECONDS * 1000)}
    producer = connect(Producer, settings)
    batch: list[Decision] = []
    for decision in decisions:
        batch.append(decision)
        if len(batch) == _AT_ONCE:
            yield from _written(config, producer, batch)
            batch = []
    yield from _written(config, producer, batch)


def _written(config: KafkaConfig, producer: Producer, batch: list[Decision]) -> Iterator[tuple[Decision, int, int]]:
    answers: list[KafkaError | tuple[int, int] | None] = [None] * len(batch)
    for number, decision in enumerate(batch):
        try:
            producer.produce(
                config.decisions_topic,
                encode_decision(decision),
                decision.item.encode(),
                on_delivery=_noting(answers, number),
            )
        except KafkaException as fault:
            answers[number] = error_of(fault)
        producer.poll(0)
    producer.flush(_ANSWER_SECONDS + 1.0)
    for decision, answer in zip(batch, answers, strict=True):
        if not isinstance(answer, tuple):
            why = f"no answer within {_ANSWER_SECONDS:.0f} s" if answer is None else answer.str()
            raise Unavailable(
                f"kafka: the decision on {decision.item} was not written to {config.decisions_topic}: {why}. It and "
                "those after it are to be written again"
            )
        yield decision, *answer


def _noting(
    answers: list[KafkaError | tuple[int, int] | None], number: int
) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        written = error is None and partition is not None and offset is not None
        answers[number] = (partition, offset) if written else error  # type: ignore[assignment]

    return on_delivery
