"""Docstrings are sentences: the first word, an article or a number apart, is a verb or a noun."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
# Prepositions, conjunctions, question words and pronouns: none of them says who does what.
_NO_BEGINNING = set(
    re.findall(
        r"\S+",
        """
    about above across after against all also among an and any as at because before behind below beneath beside between
    beyond both but by down during each either every few for from half how if in inside into it its just least less like
    many more most much neither never no nobody none nor not nothing of off on once one's only onto or other others our
    out outside over own per rather same several since so some somebody such than that their then there these they this
    those through till to toward under unless until up upon what whatever when whence where wherever whether which
    while who whoever whom whose why with within without
    """,
    )
)
_ARTICLES = {"a", "an", "the"}
_WORD = re.compile(r"[A-Za-z']+|\d[\d,.]*")


def _docstrings(package: str) -> Iterator[tuple[str, str]]:
    for path in sorted((_ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if text := ast.get_docstring(node):
                yield f"{path.relative_to(_ROOT)}:{getattr(node, 'lineno', 1)}", text


def _first_word(text: str) -> str:
    """Return the first word that is no article and no number; empty where a name in backquotes begins the text."""
    for word in _WORD.findall(text.split("`", 1)[0] if not text.startswith("`") else ""):
        if not word[0].isdigit() and word.lower() not in _ARTICLES:
            return str(word).lower()
    return ""


@pytest.mark.parametrize("package", ["model", "stream_worker", "benchmarks"])
def test_docstrings_begin_with_a_verb_or_a_noun(package: str) -> None:
    wrong = [f"{place} begins with {_first_word(text)!r}" for place, text in _docstrings(package)
             if _first_word(text) in _NO_BEGINNING]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "word"),
    [("The 20 best items.", "best"), ("Of a batch: rows.", "of"), ("`rows`: places.", ""), ("Return rows.", "return")],
)
def test_the_first_word_is_the_one_that_a_reader_meets(text: str, word: str) -> None:
    assert _first_word(text) == word
