"""Fits the state of a ranker to another number of features: the last ones are left out, or new ones are put behind.

A new feature begins with weights of 0, so that the scores stay what they were, and is 0 in examples of the past.

Shape suffixes: F features, H hidden units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import Arrays

_MODULES = ("ranker", "ranker_trainer.optimizer.slow.module")
_COLUMNS = ("linear.weight", "first.weight", "mean_F")  # of a module, with F as the last dimension
# Parameters in the order in which Adam's moments stand end to end.
_PARAMETERS = (
    "linear.weight",
    "linear.bias",
    "first.weight",
    "first.bias",
    "second.weight",
    "second.bias",
    "head.weight",
)
_MOMENTS = tuple(f"ranker_trainer.optimizer.adam.{name}" for name in ("m", "v"))
_EXAMPLES = ("ranker_trainer.recent.features", "ranker_trainer.fresh.features_MSF")


def with_features(arrays: Arrays, features: int) -> Arrays:
    """Return a learner's state with a ranker of `features`; as it is if it has so many, or no ranker."""
    had = arrays.get("ranker.mean_F")
    if had is None or len(had) == features:
        return arrays
    try:
        fitted = {name: _fitted(arrays[name], features) for name in _by_feature()}
        fitted |= {f"{module}.var_F": _fitted(arrays[f"{module}.var_F"], features, 1.0) for module in _MODULES}
        fitted |= {name: _moments(arrays, name, features) for name in _MOMENTS}
    except (KeyError, ValueError):  # the ranker begins anew, with a reason, where the state is loaded
        return arrays
    fitted |= {name: _fitted(arrays[name], features) for name in _EXAMPLES if arrays.get(name, _NONE).size}
    return arrays | fitted


_NONE = np.zeros(0)


def _by_feature() -> list[str]:
    return [f"{module}.{name}" for module in _MODULES for name in _COLUMNS]


def _fitted(array: NDArray[Any], features: int, value: float = 0.0) -> NDArray[Any]:
    """Return an array with `features` in its last dimension; new ones are `value`."""
    kept = array[..., :features]
    missing = [(0, 0)] * (array.ndim - 1) + [(0, features - kept.shape[-1])]
    return np.pad(kept, missing, constant_values=value)


def _moments(arrays: Arrays, name: str, features: int) -> NDArray[Any]:
    """Return Adam's moments [1, all weights] of a ranker of `features`."""
    shapes = [arrays[f"ranker.{parameter}"].shape for parameter in _PARAMETERS]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = [part.reshape(shape) for part, shape in zip(np.split(arrays[name][0], ends[:-1]), shapes, strict=True)]
    fitted = [
        _fitted(part, features) if parameter in _COLUMNS else part
        for parameter, part in zip(_PARAMETERS, parts, strict=True)
    ]
    return np.concatenate([part.reshape(1, -1) for part in fitted], axis=1)
