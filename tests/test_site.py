"""Links of the site: what lies in docs/ or becomes a page is linked, everything else is named without a link."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site.py")
assert _SPEC is not None
assert _SPEC.loader is not None
site = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(site)


@pytest.mark.parametrize(
    ("path", "uri", "before", "after"),
    [
        ("README.md", "index.md", "[a](docs/chaos.md)", "[a](chaos.md)"),
        ("README.md", "index.md", "[a](docs/operations.md#alerts)", "[a](operations.md#alerts)"),
        ("README.md", "index.md", "[a](docs/adr/)", "[a](adr/README.md)"),
        ("README.md", "index.md", "[a](LICENSE)", "a"),
        ("docs/chaos.md", "chaos.md", "[`a`](../tests/support/fleet.py)", "`a`"),
        ("docs/chaos.md", "chaos.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/adr/README.md", "adr/README.md", "[a](../../CHANGELOG.md)", "[a](../CHANGELOG.md)"),
        ("docs/adr/README.md", "adr/README.md", "[a](0001-x.md)", "[a](0001-x.md)"),
        ("docs/a.md", "a.md", "[a](https://a.org) ![b](tick.svg)", "[a](https://a.org) ![b](tick.svg)"),
        ("README.md", "index.md", "![the panel](docs/tick.svg)", "![the panel](tick.svg)"),
    ],
)  # fmt: skip
def test_a_link_leads_to_a_page_of_the_site(path: str, uri: str, before: str, after: str) -> None:
    assert site.in_site(before, path, uri) == after
