"""What the tests of the command line share: a tiny package, a small image, and looking at how a command ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mambaseg.cli import main
from mambaseg.doctor import trial_model
from mambaseg.geometry import Geometry
from mambaseg.io import write_volume
from mambaseg.models import write_package


def make_package(place: Path, *, channels: int = 1, classes: int = 3, spacing: float = 2.0) -> Path:
    """A package with a tiny network and random weights."""
    model = trial_model(channels=channels, classes=classes)
    spec = replace(model.spec, spacing=(spacing,) * 3)
    write_package(place, spec, {"all": model.state_dict("all")}, model.card, model.licence_text)
    return place


def make_image(place: Path, shape: tuple[int, int, int] = (18, 20, 22), seed: int = 0) -> Path:
    """Noise on a grid of 2 x 2 x 2.5 mm."""
    voxels = np.random.default_rng(seed).normal(0, 300, shape).astype(np.int16)
    write_volume(voxels, Geometry((2.0, 2.0, 2.5), (5.0, -7.0, 11.0)), place)
    return place


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def assert_failed(self, code: int, *words: str) -> None:
        """A non-zero exit with one sentence that holds the words, no traceback, nothing on stdout.

        Only the line that names the model may stand before it.
        """
        assert self.code == code, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.strip().splitlines() if not line.startswith("Model: ")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("mambaseg: ")
        assert lines[0].endswith((".", ")"))
        for word in words:
            assert word in lines[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run a command in this process."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return Ended(code, said.out, said.err)
