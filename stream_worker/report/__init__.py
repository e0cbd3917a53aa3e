"""Reports to look at: one page (or one picture) of a replay or of a comparison.

The page holds its figures and opens offline; the same run gives the same bytes. Needs the extra `report`.
"""

from __future__ import annotations

from importlib.util import find_spec

from stream_worker.core.errors import ConfigurationError

SUFFIXES = (".html", ".png")
_NEEDED = ("matplotlib", "jinja2")


def require() -> None:
    """Raises ConfigurationError, which names the extra, where what draws is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ConfigurationError(
            f"--report: needs {' and '.join(missing)}, which the extra `report` installs: "
            "pip install 'stream-worker[report]'"
        )
