"""Unpacks a value that a producer has packed with gzip, within a bound."""

from __future__ import annotations

import zlib

from stream_worker.core.errors import InvalidEvent

GZIP_BEGINS = b"\x1f\x8b"
MOST_BYTES = 16 * 1024 * 1024  # unpacked; a megabyte of gzip can stand for a gigabyte
_GZIP_WINDOW = 31  # zlib's number for "with gzip's header"


def unpacked(value: bytes) -> bytes:
    """Return what was packed, at most `MOST_BYTES`. Raises InvalidEvent."""
    packed = zlib.decompressobj(_GZIP_WINDOW)
    try:
        found = packed.decompress(value, MOST_BYTES + 1)
    except zlib.error as fault:
        raise _refused(f"broken gzip: {fault}") from None
    if len(found) > MOST_BYTES:
        raise _refused(f"more than {MOST_BYTES} bytes of it")
    if not packed.eof:
        raise _refused("gzip that is cut off")
    if packed.unused_data:
        raise _refused(f"{len(packed.unused_data)} bytes after it")
    return found


def _refused(got: str) -> InvalidEvent:
    return InvalidEvent("NotGzip", f"expected JSON packed with gzip, got {got}")
