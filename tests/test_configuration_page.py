"""docs/configuration.md is what the configuration classes say; each of their fields is explained."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from stream_worker.config import Settings

_DOCS = Path(__file__).parents[1] / "docs"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration_page", _DOCS / "configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PAGE = _generator()
_SECTIONS = get_type_hints(Settings)


def test_the_page_is_that_of_the_classes() -> None:
    """To write it anew: `python docs/configuration.py`."""
    assert _PAGE.PAGE.read_text() == _PAGE.page()


@pytest.mark.parametrize("kind", _SECTIONS.values(), ids=_SECTIONS.keys())
def test_every_key_says_what_it_means(kind: Any) -> None:
    kind = get_args(kind)[1] if get_origin(kind) is dict else kind
    tables = [table for key, hint in get_type_hints(kind).items() for _, table in _PAGE.tables_in(key, hint)]
    for each in [kind, *tables]:
        assert list(_PAGE.meanings(each)) == list(get_type_hints(each))


def test_the_examples_of_the_generator_hold() -> None:
    assert doctest.testmod(_PAGE).failed == 0
