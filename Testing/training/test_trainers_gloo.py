"""Several processes train as one: their averaged gradients are those of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import gloo_gradients
import pytest
import torch

from mambaseg_train.networks.traits import NETWORKS

NAMES = tuple(NETWORKS)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_averaged_gradients_of_two_processes_are_those_of_one(tmp_path: Path):
    torch.multiprocessing.spawn(gloo_gradients.work, args=(2, json.dumps(NAMES), str(tmp_path)), nprocs=2, join=True)
    for name in NAMES:
        single = gloo_gradients.gradients(name, 0, 1)
        both = [torch.load(tmp_path / f"{name}_{rank}.pt") for rank in (0, 1)]
        assert set(single) == set(both[0]) == set(both[1])
        assert any(float(each.abs().max()) > 1e-3 for each in single.values())
        for key, gradient in single.items():
            torch.testing.assert_close(both[0][key], both[1][key], rtol=0, atol=0)
            torch.testing.assert_close(both[0][key], gradient, rtol=1e-3, atol=1e-6)
    # a step that one process must skip is skipped by both, and the next one taken by both
    first, second = (json.loads((tmp_path / f"steps_{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["skipped"] == 1
    assert first["weights"][0] == 1.0
    # the mean over processes of d/dw (w x)^2 = 2 w x^2 is 5; the rate is 0.1
    assert first["weights"][1] == pytest.approx(0.5)
