"""The house keeps its shape: imports point one way, `model` opens nothing, the tree in architecture.md is true."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("model", "stream_worker")
_OUTSIDE = {
    "os", "io", "pathlib", "shutil", "tempfile", "subprocess", "socket", "threading", "time",
    "confluent_kafka", "redis", "pyarrow", "safetensors", "prometheus_client", "structlog", "logging", "click", "rich",
}  # fmt: skip
_CLOCKS = {"now", "utcnow", "today"}
_OPENING = {"open", "fromfile", "tofile", "memmap", "savez", "loadtxt", "savetxt"}
_TORCH_OPENING = {"load", "save"}


def _files(*places: str) -> list[Path]:
    """All modules under these files and folders; each place exists."""
    found: list[Path] = []
    for place in places:
        path = _ROOT / place
        assert path.exists(), f"{place} is gone; the rule about it has to move with it"
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def _imports(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, inside functions too."""
    package = path.relative_to(_ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


_PROGRAM = (
    "stream_worker.cli", "stream_worker.commands", "stream_worker.assembly", "stream_worker.config",
    "stream_worker.demo", "stream_worker.usage",
)  # fmt: skip
# The wings of the model, each above those that it may import; `batch`, `state` and `kernels` are below all.
_HUBS = (
    "model.learner",
    "model.trainers",
    "model.learner_config",
    "model.learner_state",
    "model.predictor",
    "model.scoring",
)
# Items are the lower wing, but for their life, which keeps vectors and counts in step.
_ITEMS = tuple(f"model/items/{name}.py" for name in ("attic", "catalog", "item_table", "number_table", "starts"))
_RULES = [
    (("model/optimizers",), (*_HUBS, "model.counting", "model.encoder", "model.items", "model.ranker")),
    (("model/counting",), (*_HUBS, "model.encoder", "model.items", "model.optimizers", "model.ranker")),
    (("model/items",), (*_HUBS, "model.encoder", "model.ranker")),
    (_ITEMS, ("model.counting", "model.lists", "model.items.lifecycle")),
    (("model/encoder",), (*_HUBS, "model.counting", "model.ranker")),
    (("model/ranker",), (*_HUBS, "model.counting", "model.encoder", "model.items")),
    (("model/lists",), (*_HUBS, "model.encoder", "model.ranker", "model.items.lifecycle")),
    (("model/weights",), ("model.counting", "model.predictor", "model.scoring")),
    (("model/weights/between_steps.py", "model/weights/gift.py"), _HUBS),
    (("model/pace.py",), ("model", "numpy", "torch")),
    (("model/predictor.py", "model/scoring.py"), ("model.learner", "model.trainers", "model.items.lifecycle")),
    (("model",), ("stream_worker",)),
    (("stream_worker/core",), ("model", "stream_worker.backends", "stream_worker.loop", *_PROGRAM)),
    (("stream_worker/loop",), ("stream_worker.backends", *_PROGRAM)),
    (("stream_worker/backends",), ("model", "stream_worker.loop", *_PROGRAM)),
    (("stream_worker/report",), ("model", "stream_worker.backends", "stream_worker.loop", *_PROGRAM)),
]


@pytest.mark.parametrize(("places", "forbidden"), _RULES, ids=lambda value: value[0])
def test_imports_point_one_way(places: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    """`model` and `core` know nobody, the loop knows interfaces, backends know `core`, the program sees all."""
    wrong = [
        f"{path.relative_to(_ROOT)} imports {name}"
        for path in _files(*places)
        for name in _imports(path)
        if any(_is_in(name, package) for package in forbidden)
    ]
    assert wrong == []


def test_core_imports_only_itself_of_the_program() -> None:
    """Whatever modules the program gets, `core` does not need them."""
    wrong = [
        f"{path.relative_to(_ROOT)} imports {name}"
        for path in _files("stream_worker/core")
        for name in _imports(path)
        if _is_in(name, "stream_worker") and not _is_in(name, "stream_worker.core")
    ]
    assert wrong == []


def test_the_twins_need_no_client_of_what_they_stand_for() -> None:
    """Whoever has no Redis and no Kafka needs no library for them either."""
    told = (
        "import sys, stream_worker.backends.in_memory; print(sorted({'redis', 'confluent_kafka'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=_ROOT)
    assert found.stdout.strip() == "[]"


def test_only_the_program_itself_knows_its_commands() -> None:
    """What a command and another module need lies beside the commands; `usage` describes them."""
    wrong = [
        f"{path.relative_to(_ROOT)} imports {name}"
        for path in _files("stream_worker")
        for name in _imports(path)
        if _is_in(name, "stream_worker.commands")
        and path.relative_to(_ROOT).parts[1] not in ("commands", "usage", "cli.py")
    ]
    assert wrong == []


@pytest.mark.parametrize("place", ["model", "stream_worker/core"])
def test_the_pure_parts_import_nothing_of_the_outside(place: str) -> None:
    """No files, no broker, no clock, no threads, no logs. Where compiled code is kept follows from its sources."""
    wrong = [
        f"{path.relative_to(_ROOT)} imports {name}"
        for path in _files(place)
        for name in _imports(path)
        if name.split(".")[0] in _OUTSIDE and path.relative_to(_ROOT) != Path("model/kernels.py")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("place", "forbidden"), [("model", _OPENING | _CLOCKS | _TORCH_OPENING), ("stream_worker/core", _OPENING | _CLOCKS)]
)
def test_the_pure_parts_open_no_file_and_ask_no_clock(place: str, forbidden: set[str]) -> None:
    """Neither by `open` nor by the ways that torch and numpy have; time comes in as an argument."""
    wrong = [
        f"{path.relative_to(_ROOT)}:{node.lineno} calls {name}"
        for path in _files(place)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and (name := _called(node)) in forbidden
    ]
    assert wrong == []


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _tree() -> dict[str, str]:
    """Path -> what it is, of the lines between the markers of docs/architecture.md."""
    text = (_ROOT / "docs/architecture.md").read_text()
    assert text.count("<!-- tree -->") == text.count("<!-- /tree -->") == 1, "docs/architecture.md has no marked tree"
    lines = text.split("<!-- tree -->")[1].split("<!-- /tree -->")[0].splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("```")]
    assert entries, "the tree is empty"
    assert all(len(entry) == 2 for entry in entries), "each line says what it is about"
    assert len({entry[0] for entry in entries}) == len(entries), "a line stands twice"
    return {path.rstrip("/"): text for path, text in entries}


def _modules() -> set[str]:
    files = _files(*_PACKAGES)
    return {path.relative_to(_ROOT).as_posix() for path in files if path.name != "__init__.py"}


def _folders() -> set[str]:
    """The folders of the repository that hold something to read."""
    return {
        path.name
        for path in _ROOT.iterdir()
        if path.is_dir() and path.name in {"tests", "docs", "examples", "benchmarks", "monitoring", "tools", "scripts"}
    }


def test_the_tree_names_nothing_that_is_not_there() -> None:
    """A module that was moved or deleted leaves the tree, too."""
    assert [path for path in _tree() if not (_ROOT / path).exists()] == []


def test_the_tree_says_of_a_module_what_its_docstring_says() -> None:
    """Its first line, so that the page cannot grow old."""
    modules = {path: words for path, words in _tree().items() if path.endswith(".py")}
    docstrings = {path: ast.get_docstring(ast.parse((_ROOT / path).read_text())) or "" for path in modules}
    said = {path: text.splitlines()[0].rstrip(".") for path, text in docstrings.items()}
    assert modules == said


def test_the_tree_names_all_that_is_there() -> None:
    """Every module by name or by its folder's, and every other folder. A folder whose modules are named one by one
    has all of them named."""
    tree = _tree()
    folders = {path for path in tree if (_ROOT / path).is_dir() and path not in _PACKAGES}
    whole = {folder for folder in folders if not any(path.startswith(folder + "/") for path in tree)}
    missing = {m for m in _modules() - tree.keys() if not any(m.startswith(folder + "/") for folder in whole)}
    assert sorted(missing) == []
    assert sorted(_folders() - tree.keys()) == []
