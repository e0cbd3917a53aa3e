"""`stream-worker demo`: its options and help."""

from __future__ import annotations

from typing import Any

import click

EPILOG = """\b
Examples:
  stream-worker demo
  stream-worker demo --seconds 20
  stream-worker demo --rate 100 --seed 7 > demo.txt

After half of the time, half of the simulated customers change their taste: the hit rate falls and comes back.
Kafka is librdkafka's mock cluster, inside this process; it proves nothing about exactly-once.

\b
Exit codes: 0 done, 130 ended by Ctrl-C (in good order, with the summary so far), 1 failed.
"""


@click.command("demo", epilog=EPILOG)
@click.option("--seconds", type=click.FloatRange(min=1, max=3600), default=60, show_default=True, help="Length.")
@click.option("--rate", type=click.FloatRange(min=1, max=2000), default=300, show_default=True, help="Events / second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the simulated shop.")
def command(**given: Any) -> Any:
    """Show an embedded Kafka, a simulated shop and a worker that learns from it, then print a summary."""
    from stream_worker.commands.demo import command as body

    return body(**given)
