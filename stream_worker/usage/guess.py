"""`stream-worker guess`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import NEW_FILE, config_option

EPILOG = """\b
Examples:
  stream-worker guess clicks > worker.toml
  stream-worker guess clicks --config worker.toml --out guessed.toml
  stream-worker guess clicks.jsonl.gz --out mapping.toml

Looks at the newest 1,000 records of a topic (no group is joined), or at the first 1,000 rows of a file (JSON lines,
CSV, TSV, Parquet, what `record` wrote). It tries the presets of well-known trackers, then looks for user, item, type,
time and the rest by names and by values. Comments say how many records have each of them. The guess is TOML: [kafka]
and [events] for `check` and `run`, or a mapping file for `replay` and `produce`.

\b
Exit codes: 0 done, 1 nothing to guess from, or nothing found, 78 a file or setting is wrong.
"""


@click.command("guess", epilog=EPILOG)
@click.argument("source", metavar="TOPIC_OR_FILE")
@config_option
@click.option("--out", type=NEW_FILE, help="New file to write the guess to; default: standard output.")
def command(**given: Any) -> Any:
    """Propose a mapping for the records of a topic or file."""
    from stream_worker.commands.guess import command as body

    return body(**given)
