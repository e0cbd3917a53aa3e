"""Recorded logs in place of the input topic, and files in place of the output topics, for replays (contract 3)."""

from stream_worker.backends.files.items import FileItems
from stream_worker.backends.files.log_owner import LogOwner
from stream_worker.backends.files.mapping import FieldNames, Mapping, load_mapping
from stream_worker.backends.files.reading import LogReader, read_log
from stream_worker.backends.files.sink import FileSink
from stream_worker.backends.files.source import FileSource

__all__ = [
    "FieldNames",
    "FileItems",
    "FileSink",
    "FileSource",
    "LogOwner",
    "LogReader",
    "Mapping",
    "load_mapping",
    "read_log",
]
