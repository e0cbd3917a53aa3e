"""`stream-worker replay`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import (
    EXISTING,
    FOLDER,
    NEW_FILE,
    config_option,
    items_option,
    optional_mapping_option,
    report_option,
)

EPILOG = """\b
Examples:
  stream-worker replay clicks.csv --mapping examples/canonical.toml --limit 10000
  stream-worker replay clicks.csv -m examples/canonical.toml --report report.html
  stream-worker replay clicks.csv -m examples/canonical.toml --predictions predictions.jsonl
  stream-worker replay clicks.csv -m examples/canonical.toml --items items.csv
  stream-worker replay clicks.csv -m examples/canonical.toml --checkpoint-to learned
  stream-worker replay clicks.csv -m examples/canonical.toml --checkpoint-from learned --checkpoint-to learned
  stream-worker replay clicks.csv -m examples/canonical.toml --lines 4 --late 1000
  stream-worker replay yesterday.jsonl.zst --config worker.toml

The last one replays what `record` wrote: records are decoded as they would be in their topic, by [events]. The one
before goes on where a stopped (or killed) replay of the same log was; its files end up the same to the bit.
With --items, what a row says of an item takes effect before the first event at or after the row's time (items.ts); a
row without a time before the first event.
With --lines, every line makes the lists of its users, by a hash of their ids, and counts the events of all; of those
that it hears from other lines it learns from one in --heard (1: all). The output is one, in the order of the log.
With another log, or with `run --from learned`, a checkpoint gives a warm start: weights, counts and users' memories.

\b
Exit codes: 0 done, 1 no row of the log is an event, 64 usage, 78 a file or setting is wrong, 130 interrupted.
"""


@click.command("replay", epilog=EPILOG)
@click.argument("log", nargs=-1, required=True, type=EXISTING)
@optional_mapping_option
@config_option
@click.option("--predictions", type=NEW_FILE, help="File for the list made before each event, one line per event.")
@click.option(
    "--after-rules",
    type=NEW_FILE,
    help="File for the lists after the rules of [lists], made before one event in eight.",
)
@click.option("--recommendations", type=NEW_FILE, help="File for the lists that `run` would publish, one line each.")
@click.option("--dead-letters", type=NEW_FILE, help="File for rows that are no events, with their reasons.")
@items_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option(
    "--speed", default="max", show_default=True, help="max, or how many times faster than the log's own time."
)
@click.option("--lines", type=click.IntRange(min=1), help="Simulate N workers that share the users.  [default: 1]")
@click.option("--late", type=click.IntRange(min=0), help="With --lines: hear others so many events late.")
@click.option("--heard", type=click.IntRange(min=0), help="With --lines: learn from one in N heard events, too.")
@click.option("--weights", is_flag=True, help="With --lines: bring the lines' weights together after each step.")
@click.option("--checkpoint-to", type=FOLDER, help="Folder to write checkpoints to, every few seconds and at the end.")
@click.option("--checkpoint-from", type=FOLDER, help="Folder of the checkpoint to begin from.")
@report_option
def command(**given: Any) -> Any:
    """Run recorded LOG files through the worker's own loop, deterministically, and print the metrics of the lists.

    Formats: JSON lines, CSV, TSV, Parquet, and what `record` wrote; plain, gzip or zstd.
    """
    from stream_worker.commands.replay import command as body

    return body(**given)
