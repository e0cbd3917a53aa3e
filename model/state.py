"""States as arrays by dotted name: of tensors, of modules, and of parts with a state of their own.

The arrays may share memory with the live state: copy them if learning continues before they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = dict[str, NDArray[Any]]


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array on the host; it shares memory with a tensor that is there."""
    return tensor.detach().cpu().numpy()


def array_of_texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return texts as UTF-8 bytes end to end, and the number of bytes of each."""
    encoded = [text.encode() for text in texts]
    letters = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    return letters, np.array([len(text) for text in encoded], dtype=np.int64)


def texts_of(letters: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[str]:
    whole, ends = letters.tobytes(), np.cumsum(lengths).tolist()
    return [whole[start:end].decode() for start, end in zip([0, *ends][:-1], ends, strict=True)]


def joined(states: Mapping[str, Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return the states of parts as one state, with names `part.name`."""
    return {f"{part}.{name}": array for part, state in states.items() for name, array in state.items()}


def state_below(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays whose names begin with `prefix.`, without it."""
    head = prefix + "."
    return {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}


def state_of_parts(parts: Mapping[str, Any]) -> Arrays:
    """Return one state of all parts, by name, for `load_parts`."""
    return joined({name: owner.state_dict() for name, owner in parts.items()})


def load_parts(parts: Mapping[str, Any], state: Arrays) -> None:
    for name, owner in parts.items():
        owner.load_state_dict(state_below(state, name))


def module_state(module: nn.Module) -> Arrays:
    return {name: array_of(tensor) for name, tensor in module.state_dict().items()}


def load_or_begin(loads: Mapping[str, Callable[[Arrays], None]], state: Arrays, fresh: Arrays) -> dict[str, str]:
    """Load each part. A part that the state lacks or does not fit is loaded from `fresh`.

    loads: function that loads a part, by part

    Returns the reason of each part that was loaded from `fresh`.
    """
    anew = {}
    for name, take in loads.items():
        try:
            take(state)
        except (KeyError, ValueError, RuntimeError, TypeError) as fault:
            anew[name] = _reason(fault)
            take(fresh)
    return anew


def _reason(fault: Exception) -> str:
    """Return an error as one line: torch names what does not fit in the second line of its message."""
    if isinstance(fault, KeyError):
        return f"there is no {fault.args[0]}"
    return " ".join(line.strip() for line in str(fault).splitlines()[:2])


def load_module(module: nn.Module, state: Arrays) -> None:
    """Load weights. Raises RuntimeError for weights of another shape."""
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})


def generator_state(rng: np.random.Generator) -> Any:
    """Return the state of a random generator as JSON, for `load_generator`."""
    return _with_texts(rng.bit_generator.state)


def load_generator(rng: np.random.Generator, state: Any) -> None:
    rng.bit_generator.state = _with_numbers(state)


def _with_texts(state: Any) -> Any:
    """Replace integers by texts, since they have 128 bits and JSON numbers stop at 64."""
    if isinstance(state, dict):
        return {key: _with_texts(value) for key, value in state.items()}
    return f"int:{state}" if isinstance(state, int) else state


def _with_numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _with_numbers(value) for key, value in state.items()}
    return int(state[4:]) if isinstance(state, str) and state.startswith("int:") else state
