"""Several processes train as one: their averaged gradients are those of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import gloo_gradients
import pytest
import torch

NAMES = ("umamba_bot", "vm_unet")


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
