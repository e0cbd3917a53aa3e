"""States as arrays by dotted name: of tensors, of modules, of parts that have a state of their own.

They are the arrays that are worked on, or made from them: who goes on before a state is written down takes a copy.
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
    """On the host, where it is the tensor's own memory if that is there."""
    return tensor.detach().cpu().numpy()


def array_of_texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Their letters end to end, and how many bytes each has."""
    encoded = [text.encode() for text in texts]
    letters = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    return letters, np.array([len(text) for text in encoded], dtype=np.int64)


def texts_of(letters: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[str]:
    whole, ends = letters.tobytes(), np.cumsum(lengths).tolist()
    return [whole[start:end].decode() for start, end in zip([0, *ends][:-1], ends, strict=True)]


def joined(states: Mapping[str, Mapping[str, NDArray[Any]]]) -> Arrays:
    """One state of those of the parts: `part.name`."""
    return {f"{part}.{name}": array for part, state in states.items() for name, array in state.items()}


def state_below(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays below `prefix.`, without it."""
    head = prefix + "."
    return {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}


def state_of_parts(parts: Mapping[str, Any]) -> Arrays:
    """One state of what has a `state_dict`, by name; `load_parts` takes it back."""
    return joined({name: owner.state_dict() for name, owner in parts.items()})


def load_parts(parts: Mapping[str, Any], state: Arrays) -> None:
    for name, owner in parts.items():
        owner.load_state_dict(state_below(state, name))


def module_state(module: nn.Module) -> Arrays:
    return {name: array_of(tensor) for name, tensor in module.state_dict().items()}


def load_or_begin(loads: Mapping[str, Callable[[Arrays], None]], state: Arrays, fresh: Arrays) -> dict[str, str]:
    """Load each part; one that the state does not fit, or lacks, gets the `fresh` one. Returns why, by part."""
    anew = {}
    for name, take in loads.items():
        try:
            take(state)
        except (KeyError, ValueError, RuntimeError, TypeError) as fault:
            anew[name] = _reason(fault)
            take(fresh)
    return anew


def _reason(fault: Exception) -> str:
    """One line; torch lists what does not fit behind its first."""
    if isinstance(fault, KeyError):
        return f"there is no {fault.args[0]}"
    return " ".join(line.strip() for line in str(fault).splitlines()[:2])


def load_module(module: nn.Module, state: Arrays) -> None:
    """Raises RuntimeError for weights of another shape."""
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})


def generator_state(rng: np.random.Generator) -> Any:
    """The state of a random generator as JSON; `load_generator` takes it back."""
    return _with_texts(rng.bit_generator.state)


def load_generator(rng: np.random.Generator, state: Any) -> None:
    rng.bit_generator.state = _with_numbers(state)


def _with_texts(state: Any) -> Any:
    """128-bit integers as texts, since JSON numbers stop at 64 bits."""
    if isinstance(state, dict):
        return {key: _with_texts(value) for key, value in state.items()}
    return f"int:{state}" if isinstance(state, int) else state


def _with_numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _with_numbers(value) for key, value in state.items()}
    return int(state[4:]) if isinstance(state, str) and state.startswith("int:") else state
