"""`stream-worker tail`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import config_option

EPILOG = """\b
Examples:
  stream-worker tail
  stream-worker tail --user alice --items 5
  stream-worker tail --json | jq .items[0].item
  stream-worker tail --from-beginning --count 10 --config worker.toml
  stream-worker tail --dead --config worker.toml
  stream-worker tail --dead --from-beginning --json | jq .reason

A line of a dead letter says when it was set aside, where it stands in the input topic (topic partition:offset), what is
wrong with it, and how its value begins. As JSON it has its headers, its key and its value; what is no JSON is in
value_text, and what is no text in value_base64.
"""


@click.command("tail", epilog=EPILOG)
@config_option
@click.option("--dead", is_flag=True, help="Print dead letters instead: records that are no event, with the reason.")
@click.option("--user", help="Only this user's lists; with --dead records with this key.")
@click.option("--items", type=click.IntRange(min=1), show_default="5", help="Items shown of each list.")
@click.option("--count", type=click.IntRange(min=1), help="End after N lines.")
@click.option("--json", "as_json", is_flag=True, help="Print them as they were published, one JSON object per line.")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest that the topic holds.")
def command(**given: Any) -> Any:
    """Print committed recommendations or dead letters, one line each, until Ctrl-C."""
    from stream_worker.commands.tail import command as body

    return body(**given)
