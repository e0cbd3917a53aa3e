"""Hooks of the site: README, CONTRIBUTING and CHANGELOG become pages, and links that leave docs/ become plain text."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Path in the repository -> path in the site.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie beside docs/."""
    from mkdocs.structure.files import File

    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make the links of a page those of the site."""
    uri = page.file.src_uri
    return in_site(markdown, {site: path for path, site in OUTSIDE.items()}.get(uri, f"docs/{uri}"), uri)


def in_site(markdown: str, path: str, uri: str) -> str:
    """Return a page's text with its links as they are in the site.

    path: where the page lies in the repository.
    uri: where it lies in the site.
    """

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[3]))
        if (ROOT / target).is_dir() and target.startswith("docs/"):
            target += "/README.md"
        if target in OUTSIDE:
            to = OUTSIDE[target]
        elif target.startswith("docs/"):
            to = target.removeprefix("docs/")
        else:
            return found[2]
        return f"{found[1]}[{found[2]}]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{found[4] or ''})"

    return _LINK.sub(link, markdown)
