"""`stream-worker guess`: proposes a mapping for a topic or a file."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from stream_worker.backends.files.first_rows import FirstRows, first_rows
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings, load_settings
from stream_worker.core.decoder import Decoder, Documents
from stream_worker.core.errors import ConfigurationError, NoEvents
from stream_worker.core.guessing.documents import FRAMED, documents_of
from stream_worker.core.guessing.guess import Guess, guess, remarks
from stream_worker.core.guessing.text import events_section, mapping_file
from stream_worker.core.json_object import json_document
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.printable import printable
from stream_worker.core.toml_text import literal
from stream_worker.presets import names

_LOOKED_AT = 1_000  # records that a guess is made of
_WIDTH = 118
_NOT_JSON = ("csv", "tsv", "parquet")  # formats of which each row is made a document
_SUFFIXES = {"jsonl": (".jsonl", ".ndjson"), "csv": (".csv",), "tsv": (".tsv",), "parquet": (".parquet",)}


def command(source: str, config_path: Path | None, out: Path | None) -> None:
    if out is not None and out.exists():
        raise ConfigurationError(f"{out} is there already, and is not overwritten")
    is_file = Path(source).is_file()
    lines = list(_of_file(Path(source)) if is_file else _of_topic(source, config_path))
    text = "\n".join(lines) + "\n"
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        how = "its first line says what it is for" if is_file else f"then try it by `stream-worker check -c {out}`"
        print(f"a guess is in {out}: look it over; {how}", file=sys.stderr)


def _of_topic(topic: str, config_path: Path | None) -> Iterator[str]:
    settings = settings_from(config_path)
    with closing(SpanReader(settings.kafka, topic)) as reader:
        records = reader.newest(_LOOKED_AT)
    if not records:
        raise NoEvents(f"{topic} holds no record: there is nothing to guess from")
    framed = _framed(settings)
    documents = documents_of(records, partial(_document, framed))
    if documents.formats[FRAMED] > len(records) / 2 and framed is None:
        raise ConfigurationError(f"{topic}: {documents.told()}: give [registry] url in the file of --config")
    found = guess(records, documents, _presets(), lambda config: Decoder(config, documents=framed))
    yield from _comments(f"A guess by `stream-worker guess {topic}`: look it over, then `stream-worker check`.")
    yield from _comments(*remarks(found, documents, keyed=True))
    yield ""
    yield from _kafka_section(settings.kafka, topic)
    yield ""
    if documents.formats[FRAMED] and framed is not None:
        yield from ["[registry]", f"url = {literal(settings.registry.url)}", ""]
    yield from events_section(found.proposal)


def _framed(settings: Settings) -> Documents | None:
    """Return what reads values that name a schema; None where no registry is configured."""
    if not settings.registry.url:
        return None
    from stream_worker.assembly import documents_of as of_registry  # large

    return of_registry(settings)


def _document(framed: Documents | None, value: bytes | None) -> Any:
    return framed(value) if framed is not None and value and not value[0] else json_document(value)


def _kafka_section(kafka: KafkaConfig, topic: str) -> Iterator[str]:
    """Yield `[kafka]` for a topic: where it is not the one of the configuration, with names of its own, so that it
    shares no group, lists, dead letters or weights with another topic's worker."""
    own = kafka.input_topic == topic
    group, lists = (kafka.group_id, kafka.output_topic) if own else (topic, f"{topic}.recommendations")
    dead = kafka.dead_letter_topic if own else f"{topic}.dead"
    weights = kafka.weights_topic if own else f"{topic}.weights"
    yield "[kafka]"
    yield f"bootstrap_servers = {literal(kafka.bootstrap_servers)}"
    yield f"input_topic = {literal(topic)}"
    yield f"output_topic = {literal(lists)}"
    yield f"dead_letter_topic = {literal(dead)}"
    yield f"weights_topic = {literal(weights)}"
    yield f"group_id = {literal(group)}"
    if kafka.extra:
        yield "# and [kafka.extra] of your configuration"


def _of_file(path: Path) -> Iterator[str]:
    rows = first_rows(path, _LOOKED_AT)
    if not rows.records:
        raise NoEvents(f"{path} holds no row: there is nothing to guess from")
    documents = documents_of(rows.records, json_document)
    if rows.format in _NOT_JSON:
        documents.formats = Counter({f"rows of {rows.format}": len(rows.records)})
    recorded = rows.format == "record"
    found = guess(rows.records, documents, _presets(), Decoder, timed=recorded)
    use = "replay it with `-c` this file" if recorded else "replay or produce it with `-m` this file"
    yield from _comments(f"A guess by `stream-worker guess {path.name}`: look it over, then {use}.")
    yield from _comments(*remarks(found, documents, keyed=recorded))
    yield ""
    yield from events_section(found.proposal) if recorded else _mapping(found, path, rows)


def _mapping(found: Guess, path: Path, rows: FirstRows) -> Iterator[str]:
    bare = path.name.removesuffix(".gz").removesuffix(".zst")
    more = {} if bare.endswith(_SUFFIXES[rows.format]) else {"format": rows.format}
    more |= {"delimiter": rows.delimiter} if rows.delimiter else {}
    return mapping_file(found.proposal, more)


def _presets() -> dict[str, EventsConfig]:
    return {name: load_settings(None, {"STREAM_WORKER__EVENTS__PRESET": name}).events for name in names("events")}


def _comments(*paragraphs: str) -> Iterable[str]:
    for paragraph in paragraphs:
        for line in textwrap.wrap(printable(paragraph), _WIDTH - 2, subsequent_indent="  "):
            yield f"# {line}"
