"""What every benchmark leaves: its figures as JSON in benchmarks/results, what they depend on, and few log lines."""

from __future__ import annotations

import json
import logging
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import torch

_RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """What figures depend on."""
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": version("numba"),
        "threads": torch.get_num_threads(),
    }


def save(name: str, result: dict[str, Any]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def only_errors() -> None:
    """Of log lines: those of hundreds of short-lived workers would bury the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
