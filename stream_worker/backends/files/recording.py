"""Writes the records of a topic to a file, compressed by its extension (.gz, .zst)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from stream_worker.core.errors import ConfigurationError, Unavailable
from stream_worker.core.events import Record
from stream_worker.core.recorded import encode_record

_BUFFER_BYTES = 1 << 20  # bytes written at once; not tuned


def write_records(path: Path, records: Iterable[Record], document: Callable[[bytes], bytes]) -> int:
    """Write each record as a line, and return their number. A file without records is not left there.

    Raises ConfigurationError if there is such a file, Unavailable if the disk takes no more.

    document: makes JSON of a value in another format, or leaves it as it is.
    """
    _make(path)
    count = 0
    try:
        stream: Any = pa.output_stream(str(path))
        with io.BufferedWriter(stream, _BUFFER_BYTES) as file:
            for record in records:
                file.write(encode_record(record, document))
                count += 1
    except OSError as fault:
        raise Unavailable(f"{path}: {fault}") from fault
    finally:
        if not count:
            path.unlink()
    return count


def _make(path: Path) -> None:
    try:
        path.open("xb").close()
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already, and is not overwritten") from None
    except OSError as fault:
        raise ConfigurationError(f"{path}: {fault.strerror}") from fault
