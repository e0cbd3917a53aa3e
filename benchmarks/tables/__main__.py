"""Write the tables of docs/ anew, from benchmarks/results.

python -m benchmarks.tables
"""

from __future__ import annotations

import click

from benchmarks.tables.pages import DOCS, blocks, filled


@click.command()
def main() -> None:
    """Write the tables of docs/ anew, and name the pages that changed."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if blocks(text) and (anew := filled(text)) != text:
            page.write_text(anew, encoding="utf-8")
            print(page.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
