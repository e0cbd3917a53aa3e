"""Reports of a replay or of a comparison: one page, or one picture.

The page contains its figures and opens offline; the same run gives the same bytes. Needs the extra `report`.
"""

from __future__ import annotations

from importlib.util import find_spec

from stream_worker.core.errors import ConfigurationError

# The names of reports end in one of these.
SUFFIXES = (".html", ".png")
_NEEDED = ("matplotlib", "jinja2")


def require() -> None:
    """Raise ConfigurationError, which names the extra, if a library that draws is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ConfigurationError(
            f"--report: needs {' and '.join(missing)}, which the extra `report` installs: "
            "pip install 'stream-worker[report]'"
        )
