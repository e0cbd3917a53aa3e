"""Files in place of the output topics. Their lengths and Y are in the checkpoint, and a restart truncates to them:
killed and resumed, every file is the same to the bit."""

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

_PARTITION = 0
_BUFFER_BYTES = 1 << 20


class FileSink:
    """JSON lines: predictions as contract 3 has them, recommendations as contract 1, dead letters with their reasons.

    Any path may be None: not asked for. What stands in the files from before is cut off at the first commit, except
    what a loaded state says is this log's own. `next_offset` is Y.
    """

    shortened = 0

    def __init__(
        self,
        predictions: Path | None = None,
        recommendations: Path | None = None,
        dead_letters: Path | None = None,
        *,
        topic: str = "",
    ) -> None:
        paths = {"predictions": predictions, "recommendations": recommendations, "dead_letters": dead_letters}
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
        if file := self._files.get("recommendations"):
            file.writelines(encode_recommendation(r, self._topic) + b"\n" for r in outputs.recommendations)
        if file := self._files.get("dead_letters"):
            file.writelines(_encode_dead_letter(letter, self._topic) for letter in outputs.dead_letters)
        self.next_offset = next_offsets.get(_PARTITION, self.next_offset)

    def state_dict(self) -> dict[str, Any]:
        """Y and the lengths, once those bytes are on the disk: a checkpoint may not promise more than there is."""
        self._open()
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            self._lengths[name] = file.tell()
        return {"next_offset": self.next_offset, "lengths": dict(self._lengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state. Raises ConfigurationError where a file has become shorter than it was then."""
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
    """The file cut off at `length` bytes, ready to append."""
    file = open(path, "ab", _BUFFER_BYTES)  # noqa: SIM115  (stays open)
    if (size := file.tell()) < length:
        file.close()
        raise ConfigurationError(f"{path}: expected at least {length} bytes, as the checkpoint has it, got {size}")
    file.truncate(length)
    file.seek(length)  # or tell() goes on naming the old end until something is written
    return file


def _encode_dead_letter(letter: DeadLetter, topic: str) -> bytes:
    record = letter.record
    value = None if record.value is None else record.value.decode("utf-8", "backslashreplace")
    line = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "place": record.place,
        "error": letter.error,
        "reason": letter.reason,
        "value": value,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
