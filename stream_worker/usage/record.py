"""`stream-worker record`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import NEW_FILE, config_option

EPILOG = """\b
Examples:
  stream-worker record clicks clicks.jsonl --config worker.toml
  stream-worker record clicks yesterday.jsonl.zst --from 2026-11-29 --to 2026-11-30 -c worker.toml
  stream-worker record clicks hour.jsonl.gz --from -1h -c worker.toml
  stream-worker record clicks.dead dead.jsonl --from 1041 -c worker.toml

A moment is an offset (of every partition), a time (ISO 8601; in UTC if it names no zone) or a time ago (-90s, -15m,
-1h, -2d). --to is the first record that is not written. Without it all records are that were there at the start. No
consumer group is joined, and no offset is committed.

A line is {"partition","offset","timestamp_ms","key","headers","value"}; a value that is no JSON is in value_text or
value_base64. Partitions are mixed by time, and each keeps its order. The file's name says how it is compressed (.gz,
.zst).

\b
Exit codes: 0 done, 1 there is no such record or topic, 64 usage, 78 a file or setting is wrong, 130 interrupted (the
file holds what was read so far).
"""


@click.command("record", epilog=EPILOG)
@click.argument("topic")
@click.argument("file", type=NEW_FILE)
@click.option("--from", "begin", metavar="MOMENT", help="Begin with the first record at or after this moment.")
@click.option("--to", "end", metavar="MOMENT", help="End before the first record at or after this moment.")
@config_option
def command(**given: Any) -> Any:
    """Write the committed records of TOPIC to a new FILE, one line of JSON each."""
    from stream_worker.commands.record import command as body

    return body(**given)
