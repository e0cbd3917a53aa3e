"""One of a thing is said in the singular, here and in what the program prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_worker.core.amounts import amount

PROGRAM = Path(__file__).parents[2] / "stream_worker"
_MANY = re.compile(
    r" ?(dead letters|brokers|checkpoints|columns|days|events|items|lists|masters|memories|other keys|partitions|"
    r"records|rows|users)\b(?!/s)"
)


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1_000, "1,000 rows"), (1.0, "1.0 rows")]
)
def test_only_one_is_singular(count: float, said: str) -> None:
    assert amount(count, "row") == said


@pytest.mark.parametrize(("count", "said"), [(1, "1 memory"), (2, "2 memories")])
def test_another_plural_is_taken(count: int, said: str) -> None:
    assert amount(count, "memory", "memories") == said


@pytest.mark.parametrize(("days", "said"), [(0.96, "1 day"), (1.2, "1 day"), (1.6, "2 days"), (700.0, "700 days")])
def test_what_is_rounded_to_one_is_one(days: float, said: str) -> None:
    """The form decides: "1 days" is what was to be read."""
    assert amount(days, "day", form=",.0f") == said


def test_no_message_puts_a_plural_behind_a_number() -> None:
    """Whatever a number in a text is followed by goes through `amount`."""
    found = [f"{path.name}: {text}" for path in sorted(PROGRAM.rglob("*.py")) for text in _plurals(path)]
    assert found == []


def _plurals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if not (isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant)):
                    continue
                if _MANY.match(str(text.value)):
                    yield ast.unparse(node)
