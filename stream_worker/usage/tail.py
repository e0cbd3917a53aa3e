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
"""


@click.command("tail", epilog=EPILOG)
@config_option
@click.option("--user", help="Only this user's lists.")
@click.option("--items", type=click.IntRange(min=1), default=5, show_default=True, help="Items shown of each list.")
@click.option("--count", type=click.IntRange(min=1), help="End after N lists.")
@click.option("--json", "as_json", is_flag=True, help="Print lists as they were published, one JSON object per line.")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest list that the topic holds.")
def command(**given: Any) -> Any:
    """Print committed recommendations, one line each, until Ctrl-C."""
    from stream_worker.commands.tail import command as body

    return body(**given)
