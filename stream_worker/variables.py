"""Finds environment variables that are misspelt names of configuration keys, and the key that was probably meant.

Two underscores separate section and key, since keys contain single ones. Kubernetes sets variables with one underscore
for a service named `stream-worker` (`STREAM_WORKER_SERVICE_HOST`); these are no mistakes.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import get_type_hints

PREFIX = "STREAM_WORKER__"
_ALIKE = PREFIX.rstrip("_") + "_"
_OF_A_SERVICE = re.compile(rf"{_ALIKE}(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
_NEAR = 0.6  # similarity from which on a key may have been meant: difflib's default cutoff


def misnamed(environ: Iterable[tuple[str, str]], settings: type) -> Iterator[tuple[str, str]]:
    """Yield (name, the variable that was probably meant) of variables that set nothing; the latter may be empty."""
    known = {_rest(name): name for name in _names(settings)}
    for name, value in environ:
        if name.upper().startswith(_ALIKE) and not _is_of_a_service(name, value):
            meant = known.get(_rest(name), "")
            if not name.startswith(PREFIX) or (meant and name.upper() != meant):
                yield name, meant or _nearest(name, known)


def _names(settings: type) -> Iterator[str]:
    for section, kind in get_type_hints(settings).items():
        for key in get_type_hints(kind) if dataclasses.is_dataclass(kind) else ():  # the others have names of their own
            yield f"{PREFIX}{section}__{key}".upper()


def _rest(name: str) -> str:
    """Return section and key of a variable, with every run of underscores as one."""
    return re.sub("_+", "_", name.upper()).removeprefix(_ALIKE)


def _is_of_a_service(name: str, value: str) -> bool:
    return _OF_A_SERVICE.fullmatch(name) is not None or (
        name.endswith("_PORT") and _ADDRESS.fullmatch(value) is not None
    )


def _nearest(name: str, known: dict[str, str]) -> str:
    rest = _rest(name)
    keys = [variable for variable in known.values() if variable.endswith(f"__{rest}")]  # the section was left out
    close = difflib.get_close_matches(rest, known, n=1, cutoff=_NEAR)
    return keys[0] if len(keys) == 1 else known[close[0]] if close else ""
