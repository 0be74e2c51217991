"""From training to the panel: a package that our commands made is imported by the panel's button and segments there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_person import Person
from test_real_input import labels_of

TRAINING_TESTS = Path(__file__).resolve().parents[1] / "training"
TITLE = "Blobs, trained here"


@pytest.fixture
def _training_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The helpers of the training's tests are at hand, and nnU-Net's folders are forgotten again."""
    monkeypatch.syspath_prepend(str(TRAINING_TESTS))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    before = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    yield
    for name in [name for name in os.environ if name.startswith("nnUNet_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_training_environment")
def test_a_trained_package_by_the_import_button(app: Any, tmp_path: Path) -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net, which trains, is not installed here")
    import slicer
    from export_helpers import describe, finish
    from tiny_datasets import make_dataset

    import mambaseg
    from mambaseg_train.cli import main

    base, place = tmp_path / "base", tmp_path / "blobs.mambaseg"
    describe(make_dataset(base / "nnUNet_raw"), licence="CC BY 4.0", citation="Nobody, 2026")
    finished = finish(base, "umamba_bot")
    command = ["export", str(finished.results), "-o", str(place), "--figures", str(finished.summary)]
    assert main([*command, "--id", "blobs", "--title", TITLE]) == 0

    person = Person(app)
    app.dialogs.answer(str(place))
    person.ui.modelsSection.collapsed = False
    person.click("importFileButton")
    app.wait(lambda: "is installed" in person.ui.modelsStatusLabel.text, 120, "the import")
    person.choose_model(TITLE)
    card = person.ui.modelCard.html
    figure = next(each for each in mambaseg.load_model("blobs").spec.figures if each.metric == "Dice")
    shown = person.ui.modelCard.plainText
    for part in (TITLE, "U-Mamba Bot", "Dice", f"{figure.value:.4g}", "Sensitivity", "Nobody, 2026"):
        assert part in shown, card

    source = next((finished.raw / "imagesTs").iterdir())
    volume = slicer.util.loadVolume(str(source), {"name": "Blobs"})
    person.choose_volume(volume)
    node = person.segment()
    assert person.message() == ""
    engine = mambaseg.segment(mambaseg.read_volume(source), "blobs", mambaseg.Options(device="cpu"))
    np.testing.assert_array_equal(labels_of(node, volume), engine.labels)
    assert np.count_nonzero(engine.labels) > 0, "only background was compared"
    again = mambaseg.segment(mambaseg.read_volume(source), str(place), mambaseg.Options(device="cpu"))
    np.testing.assert_array_equal(again.labels, engine.labels)
