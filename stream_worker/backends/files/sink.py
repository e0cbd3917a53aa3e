"""Writes a replay's outputs to files in place of topics.

The checkpoint holds the lengths of the files and Y. A restart truncates the files to these lengths, so a replay that
was killed and resumed writes the same bytes as one that was not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from stream_worker.core.codec import encode_prediction, encode_recommendation
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.events import DeadLetter, Outputs
from stream_worker.core.offsets import Mark

_PARTITION = 0  # the only partition of a log
_BUFFER_BYTES = 1 << 20  # bytes collected before a write; not tuned


class FileSink:
    """Writes JSON lines. The first commit removes what earlier runs wrote, except the part that a loaded state covers.

    predictions: file in the form of contract 3; None: not written.
    after_rules: the same of the default lists after the rules, for one examined event in eight; None: not written.
    recommendations: file in the form of contract 1; None: not written.
    dead_letters: file of dead letters with their reasons; None: not written.
    topic: the name of the log, for recommendations and dead letters.

    `next_offset` is Y.
    """

    shortened = 0

    def __init__(
        self,
        predictions: Path | None = None,
        recommendations: Path | None = None,
        dead_letters: Path | None = None,
        *,
        topic: str = "",
        after_rules: Path | None = None,
    ) -> None:
        paths = {
            "predictions": predictions,
            "after_rules": after_rules,
            "recommendations": recommendations,
            "dead_letters": dead_letters,
        }
        self.next_offset = 0
        self._topic = topic
        self._paths = {name: path for name, path in paths.items() if path is not None}
        self._lengths = dict.fromkeys(self._paths, 0)
        self._files: dict[str, BinaryIO] = {}

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        self._open()
        if file := self._files.get("predictions"):
            file.writelines(map(encode_prediction, outputs.predictions))
        if file := self._files.get("after_rules"):
            file.writelines(map(encode_prediction, outputs.after_rules))
        if file := self._files.get("recommendations"):
            file.writelines(encode_recommendation(r, self._topic) + b"\n" for r in outputs.recommendations)
        if file := self._files.get("dead_letters"):
            file.writelines(_encode_dead_letter(letter, self._topic) for letter in outputs.dead_letters)
        self.next_offset = next_offsets.get(_PARTITION, self.next_offset)

    def state_dict(self) -> dict[str, Any]:
        """Return Y and the lengths, after a sync: a checkpoint must not name bytes that are not on the disk."""
        self._open()
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            self._lengths[name] = file.tell()
        return {"next_offset": self.next_offset, "lengths": dict(self._lengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Truncate the files to the lengths of a state. Raises ConfigurationError if a file is shorter."""
        self.close()
        self.next_offset = state["next_offset"]
        self._lengths = {name: state["lengths"].get(name, 0) for name in self._paths}
        self._open()

    def _open(self) -> None:
        for name, path in self._paths.items():
            if name not in self._files:
                self._files[name] = _open_at(path, self._lengths[name])

    def close(self) -> None:
        for name, file in self._files.items():
            self._lengths[name] = file.tell()
            file.close()
        self._files.clear()


def _open_at(path: Path, length: int) -> BinaryIO:
    """Open a file for appending and truncate it to `length` bytes. Raises ConfigurationError if it is shorter."""
    file = open(path, "ab", _BUFFER_BYTES)  # noqa: SIM115  (stays open)
    if (size := file.tell()) < length:
        file.close()
        raise ConfigurationError(f"{path}: expected at least {length} bytes, as the checkpoint says, got {size}")
    file.truncate(length)
    file.seek(length)  # otherwise tell() returns the old end until something is written
    return file


def _encode_dead_letter(letter: DeadLetter, topic: str) -> bytes:
    record = letter.record
    value = None if record.value is None else record.value.decode("utf-8", "backslashreplace")
    line: dict[str, Any] = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "place": record.place,
        "error": letter.error,
        "reason": letter.reason,
        "value": value,
    }
    if letter.elements:
        line["elements"] = list(letter.elements)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
