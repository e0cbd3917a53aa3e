"""`stream-worker compare`: its options and help."""

from __future__ import annotations

from typing import Any

import click

from stream_worker.usage.options import EXISTING, items_option, optional_mapping_option, report_option

EPILOG = """\b
Examples:
  stream-worker compare a.toml b.toml clicks.csv --mapping examples/canonical.toml
  stream-worker compare a.toml b.toml clicks.csv -m examples/canonical.toml --limit 50000 --seeds 0,1,2
  stream-worker compare a.toml b.toml clicks.csv -m examples/canonical.toml --report compared.html
  stream-worker compare a.toml b.toml yesterday.jsonl.zst

The last one compares on what `record` wrote: each side decodes the records by its own [events].
An empty file stands for the defaults; a variable STREAM_WORKER__SECTION__KEY overrides both files. The interval
(95 %) and p come from a bootstrap over users, each with all their events: they tell if other users like these
would have shown the same difference. Only --seeds can tell if other seeds would.

\b
Exit codes: 0 done (whichever is better), 64 usage, 78 a configuration is wrong, 1 no row of the log is an event,
130 interrupted.
"""


class _Seeds(click.ParamType[tuple[int, ...]]):
    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            seeds = tuple(int(seed) for seed in value.split(","))
        except ValueError:
            seeds = ()
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            self.fail(f"must be different numbers from 0 with commas between, such as 0,1,2, got {value!r}", param, ctx)
        return seeds


@click.command("compare", epilog=EPILOG)
@click.argument("a", type=EXISTING, metavar="A.toml")
@click.argument("b", type=EXISTING, metavar="B.toml")
@click.argument("log", nargs=-1, required=True, type=EXISTING)
@optional_mapping_option
@items_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option("--seeds", type=_Seeds(), help="Run each file with each of these seeds (0,1,2); default: its model.seed.")
@report_option
def command(**given: Any) -> Any:
    """Replay LOG with two configurations, and print the metrics of their lists side by side.

    The two run one after the other, from the first row with nothing learned, and keep memories in the process.
    """
    from stream_worker.commands.compare import command as body

    return body(**given)
