"""The same line on a CUDA device. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.learner import Learner
from tests.model.lines import EVERY_TYPE, SMALL, Line, markov_log

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


def test_a_gpu_says_what_the_cpu_says() -> None:
    """The first lists and probabilities agree up to rounding, and learning goes on without an error."""
    log = markov_log(seed=1, events=320)
    lines = {device: Line() for device in ("cpu", "cuda")}
    lines["cuda"].learner = Learner(SMALL, torch.device("cuda"), 500, EVERY_TYPE)
    lines["cuda"].learner.encoder.load_state_dict(lines["cpu"].learner.encoder.state_dict())
    lines["cuda"].learner.ranker.load_state_dict(lines["cpu"].learner.ranker.state_dict())
    ticks = {device: line.run(log, size=32) for device, line in lines.items()}
    first = [np.array(ticks[device][0].log_probabilities) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(first[0], first[1], atol=1e-3)
    assert len(ticks["cuda"]) == len(ticks["cpu"]) == 10
    assert lines["cuda"].learner.users.h_SH.device.type == "cuda"
