"""The models by name, with the settings of all published figures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.offline.gru4rec import Gru4Rec, Gru4RecConfig
from benchmarks.offline.sasrec import SasRec, SasRecConfig
from benchmarks.offline.training import SequenceModel, TrainingConfig

CANONICAL = Path(__file__).resolve().parents[2] / "examples" / "canonical.toml"


@dataclass(frozen=True)
class Model:
    """A network and how it is trained."""

    network: Gru4RecConfig | SasRecConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def make(self, items: int) -> SequenceModel:
        if isinstance(self.network, Gru4RecConfig):
            return Gru4Rec(items, self.network)
        return SasRec(items, replace(self.network, positions=self.training.window))

    def with_seed(self, seed: int) -> Model:
        return replace(self, training=replace(self.training, seed=seed))


MODELS = {
    "gru4rec": Model(Gru4RecConfig()),
    "sasrec": Model(SasRecConfig()),
    "sasrec-binary": Model(SasRecConfig(), TrainingConfig(loss="binary")),
}
