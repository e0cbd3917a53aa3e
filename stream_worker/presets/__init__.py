"""Presets: the mappings of well-known trackers, a TOML file each, in the words of the configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from stream_worker.core.errors import ConfigurationError
from stream_worker.core.nearest import nearest


def names(section: str) -> list[str]:
    """Return the names of the presets that have this section."""
    found = [file.name.removesuffix(".toml") for file in files(__name__).iterdir() if file.name.endswith(".toml")]
    return sorted(name for name in found if section in _read(name))


def with_preset(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a section with those of its preset below them; tables are joined key by key.

    Raises ConfigurationError for a preset that there is not.
    """
    name = given.get("preset") or ""
    if not isinstance(name, str) or not name:
        return dict(given)
    if name not in (known := names(section)):
        raise ConfigurationError(f"{section}.preset: there is no {name!r}{nearest(name, known)}")
    below = _read(name)[section]
    joined = {key: {**below[key], **value} for key, value in given.items() if _both_tables(below.get(key), value)}
    return {**below, **given, **joined}


def _both_tables(one: Any, other: Any) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping)


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
