"""The state of a learner as arrays and JSON scalars, and what begins anew where a saved state does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from model.ranker.columns import with_features
from model.state import (
    Arrays,
    generator_state,
    joined,
    load_generator,
    load_module,
    load_or_begin,
    load_parts,
    module_state,
    state_below,
    state_of_parts,
)

if TYPE_CHECKING:
    from model.learner import Learner

# Parts of a state that may begin anew without the rest.
ENCODER_WEIGHTS, ITEM_VECTORS, TRAINING_WINDOWS = "encoder", "item vectors", "training windows"
RANKER, TRAINING_CHOICES = "ranker", "training choices"


def state_of(learner: Learner) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays by dotted name and JSON scalars: the line without the users' memories."""
    catalog = learner.catalog
    states = {"catalog": catalog.state_dict(), "items": learner.items.state_dict(catalog.rows_used)}
    for name, module in (("encoder", learner.encoder), ("ranker", learner.ranker)):
        states[name] = module_state(module)
    arrays = state_of_parts(_parts(learner) | _told(learner)) | joined(states)
    meta = {
        "events": learner.events,
        "examined": learner.examined,
        "steps": learner.steps,
        "family": learner.family,
        "collected": learner.collected,
        "clock_ts": learner.clock_ts,
        "rng": generator_state(learner.rng),
    }
    return arrays, meta


def load_into(learner: Learner, arrays: Arrays, meta: dict[str, Any], numbers: list[int]) -> dict[str, str]:
    """Load a state into a learner of the same catalogue, counts and attic.

    numbers: the store's item numbers of `Catalog.ids_of_state(state_below(arrays, "catalog"))`, in that order

    Returns the parts that do not fit and begin anew, by name, each with the reason. Raises ValueError and KeyError
    where catalogue, counts or attic do not fit.
    """
    fresh = {name: array.copy() for name, array in state_of(learner)[0].items()}
    arrays = with_features(arrays, len(learner.ranker.mean_F))
    learner.catalog.load_state_dict(state_below(arrays, "catalog"), numbers)
    load_parts({"counting": learner.counting, "attic": learner.attic, "lists": learner.list_maker}, arrays)
    told = _told(learner)
    if learner.decisions is not None:
        learner.decisions.load_state_dict(state_below(arrays, "decisions"))
    if learner.content is not None:
        learner.content.load_state_dict(state_below(arrays, "content") if "content" in told else {})
    if learner.counting.rows < learner.catalog.capacity:
        learner.counting.grow(learner.catalog.capacity)
    learner.events, learner.steps, learner.clock_ts = meta["events"], meta["steps"], meta["clock_ts"]
    learner.examined = meta.get("examined", meta["events"])
    learner.collected, learner.family = meta["collected"], meta.get("family", "")
    load_generator(learner.rng, meta["rng"])
    anew = load_or_begin(_loads(learner), arrays, fresh)
    if ITEM_VECTORS in anew:
        learner.life.start_all_anew()
    if ENCODER_WEIGHTS in anew and TRAINING_WINDOWS not in anew:
        anew[TRAINING_WINDOWS] = "their states are of another encoder"
        learner.encoder_trainer.load_examples(state_below(fresh, "encoder_trainer"))
    if RANKER in anew and TRAINING_CHOICES not in anew:
        anew[TRAINING_CHOICES] = "their features are of another ranker"
        learner.ranker_trainer.load_examples(state_below(fresh, "ranker_trainer"))
    return anew


def _parts(learner: Learner) -> dict[str, Any]:
    """Return the parts with a state of their own, by its name; the items and the catalogue are not among them."""
    trainers = {"encoder_trainer": learner.encoder_trainer, "ranker_trainer": learner.ranker_trainer}
    return {"counting": learner.counting, "attic": learner.attic, "lists": learner.list_maker, **trainers}


def _told(learner: Learner) -> dict[str, Any]:
    """Return the parts that hold what is told of items, and decided of them, where there is a source of it."""
    parts: dict[str, Any] = {} if learner.decisions is None else {"decisions": learner.decisions}
    if learner.content is not None and learner.content.described:
        parts["content"] = learner.content
    return parts


def _loads(learner: Learner) -> dict[str, Callable[[Arrays], None]]:
    """Return a function per part that may begin anew; it loads that part alone."""

    def encoder(arrays: Arrays) -> None:
        load_module(learner.encoder, state_below(arrays, "encoder"))
        learner.encoder_trainer.load_optimizer(state_below(arrays, "encoder_trainer"))

    def ranker(arrays: Arrays) -> None:
        load_module(learner.ranker, state_below(arrays, "ranker"))
        learner.ranker_trainer.load_optimizer(state_below(arrays, "ranker_trainer"))

    def items(arrays: Arrays) -> None:
        learner.items.load_state_dict(state_below(arrays, "items"), learner.catalog.capacity)

    def windows(arrays: Arrays) -> None:
        learner.encoder_trainer.load_examples(state_below(arrays, "encoder_trainer"))

    def examples(arrays: Arrays) -> None:
        learner.ranker_trainer.load_examples(state_below(arrays, "ranker_trainer"))

    return {
        ITEM_VECTORS: items,
        ENCODER_WEIGHTS: encoder,
        TRAINING_WINDOWS: windows,
        RANKER: ranker,
        TRAINING_CHOICES: examples,
    }
