"""A small finished training and the evaluation of its held-out cases, made once for the tests of export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.cli import main
from mambaseg_train.cli.predict import CASES_FILE

BUDGET = ("--epochs", "1", "--iterations", "2", "--validation-iterations", "1", "--workers", "0", "--device", "cpu")


@dataclass(frozen=True)
class Finished:
    """A training on folds of the tiny data set, its predictions and figures."""

    base: Path
    raw: Path
    results: Path
    predictions: Path
    summary: Path


def describe(raw: Path, **own: object) -> None:
    """Say more of the data set in its ``dataset.json``."""
    file = raw / "dataset.json"
    described = json.loads(file.read_text())
    described.update({"name": raw.name, "description": "Bright blobs"})
    described["mambaseg"] = {**described.get("mambaseg", {}), **own}
    file.write_text(json.dumps(described))


def finish(
    base: Path,
    network: str = "residual_unet",
    configuration: str = "3d_fullres",
    *,
    folds: tuple[str, ...] = ("0",),
    budget: tuple[str, ...] = BUDGET,
) -> Finished:
    """Plan, preprocess, train folds for two steps, segment and score their validation cases; all by the commands."""
    raw = base / "nnUNet_raw" / "Dataset901_Tiny"
    where = ("901", "--folder", str(base))
    small = ("--memory", "1", "--device", "cpu", "--features", "8", "--blocks", "1", "--max-patch", "16")
    which = ("--plans", f"mambaseg_{network}", "-c", configuration)
    assert main(["plan", *where, "-n", network, *small]) == 0
    assert main(["preprocess", *where, *which]) == 0
    predictions, scored = base / "predictions" / network, base / "scored" / network
    cases: list[str] = []
    for fold in folds:
        assert main(["train", *where, *which, "--fold", fold, *budget]) == 0
        results = next((base / "nnUNet_results" / raw.name).glob(f"*__mambaseg_{network}__{configuration}"))
        place = predictions if len(folds) == 1 else predictions / f"fold_{fold}"
        assert main(["predict", str(results), "--fold", fold, "--dataset", str(raw), "-o", str(place)]) == 0
        cases += json.loads((place / CASES_FILE).read_text())
    listed = base / f"cases_{network}.json"
    listed.write_text(json.dumps(cases))
    evaluate = ["evaluate", str(predictions), str(raw / "labelsTr"), "--dataset", str(raw), "-o", str(scored)]
    assert main([*evaluate, "--cases", str(listed), "--worst", "0", "--name", network]) == 0
    return Finished(base, raw, results, predictions, scored / "summary.json")
