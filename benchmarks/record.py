"""Writing figures to benchmarks/results as JSON, together with what they depend on."""

from __future__ import annotations

import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import torch

_RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Return what figures depend on: the processor and the versions."""
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": version("numba"),
        "threads": torch.get_num_threads(),
    }


def origin() -> dict[str, str]:
    """Return when, at which commit and by which command figures were measured."""
    arguments = [Path(argument).name if "/" in argument else argument for argument in sys.orig_argv]
    return {
        "recorded": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
        "command": shlex.join(["python", *arguments[1:]]),
    }


def _commit() -> str:
    command = ["git", "-C", str(_RESULTS), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def save(name: str, result: dict[str, Any]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    write(_RESULTS / f"{name}.json", result)


def write(path: Path, result: dict[str, Any]) -> None:
    """Write figures and their origin, in the shape that `benchmarks.tables` reads."""
    path.write_text(json.dumps({**origin(), **result}, indent=2, default=str) + "\n", encoding="utf-8")


def only_errors() -> None:
    """Log errors only: the lines of hundreds of short-lived workers would bury the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
