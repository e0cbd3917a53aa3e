"""Names of environment variables that look like the configuration's and are none: what was meant by them.

Sections and keys are parted by two underscores, since keys have single ones. Kubernetes tells of a service named
`stream-worker` by variables with one underscore (`STREAM_WORKER_SERVICE_HOST`), which are nobody's mistake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import get_type_hints

PREFIX = "STREAM_WORKER__"
_ALIKE = PREFIX.rstrip("_") + "_"
_OF_A_SERVICE = re.compile(rf"{_ALIKE}(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
_NEAR = 0.6


def misnamed(environ: Iterable[tuple[str, str]], settings: type) -> Iterator[tuple[str, str]]:
    """(name, what was probably meant) of variables that would set nothing, though somebody thought so."""
    known = {_rest(name): name for name in _names(settings)}
    for name, value in environ:
        if name.upper().startswith(_ALIKE) and not _is_of_a_service(name, value):
            meant = known.get(_rest(name), "")
            if not name.startswith(PREFIX) or (meant and name.upper() != meant):
                yield name, meant or _nearest(name, known)


def _names(settings: type) -> Iterator[str]:
    for section, kind in get_type_hints(settings).items():
        for key in get_type_hints(kind):
            yield f"{PREFIX}{section}__{key}".upper()


def _rest(name: str) -> str:
    """Section and key with single underscores, whatever there were."""
    return re.sub("_+", "_", name.upper()).removeprefix(_ALIKE)


def _is_of_a_service(name: str, value: str) -> bool:
    return _OF_A_SERVICE.fullmatch(name) is not None or (
        name.endswith("_PORT") and _ADDRESS.fullmatch(value) is not None
    )


def _nearest(name: str, known: dict[str, str]) -> str:
    close = difflib.get_close_matches(_rest(name), known, n=1, cutoff=_NEAR)
    return known[close[0]] if close else ""
