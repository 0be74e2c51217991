"""Segmenting cases of a raw data set with the engine, for evaluation.

The engine is what people will use, so it is what is measured; its labels are nnU-Net's (``export/verify.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaseg.api import segment
from mambaseg.inference.kept import NetworkCache
from mambaseg.io import write_segmentation
from mambaseg.io.files import cannot_write
from mambaseg.models.model import Model
from mambaseg.options import Options
from mambaseg_train.errors import DataError
from mambaseg_train.export.images import find_images
from mambaseg_train.trainer.record import read_record

Say = Callable[[str], None]
DATASET_FILE = "dataset.json"


def read_raw(raw: Path) -> dict[str, Any]:
    """``dataset.json`` of a raw data set.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    try:
        value = json.loads((raw / DATASET_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{raw / DATASET_FILE}' cannot be read ({error}). Give a raw data set's folder.") from error
    if not isinstance(value, dict):
        raise DataError(f"'{raw / DATASET_FILE}' holds no JSON object. Convert the data set again.")
    return value


def test_cases(raw: Path) -> tuple[str, ...]:
    """Cases that are kept for testing and have labels.

    Raises
    ------
    DataError
        If there are none.
    """
    ending = str(read_raw(raw).get("file_ending", ".nii.gz"))
    found = tuple(sorted(path.name.removesuffix(ending) for path in (raw / "labelsTs").glob(f"*{ending}")))
    if not found:
        raise DataError(f"'{raw}' keeps no labelled cases for testing (labelsTs). Take a fold's cases with --fold.")
    return found


def validation_cases(results: Path, fold: str) -> tuple[str, ...]:
    """Validation cases of a fold, as its training recorded them.

    Raises
    ------
    DataError
        If they are not known, or were trained on (fold ``all``).
    """
    cases = read_record(results / f"fold_{fold}").get("cases") or {}
    names = tuple(map(str, cases.get("validation") or ()))
    if not names:
        raise DataError(f"It is not known which cases fold {fold} of '{results}' validates. Give --cases.")
    if set(names) & set(cases.get("training") or ()):
        raise DataError(
            f"Fold {fold} of '{results}' was trained on all of its cases, so none is left to judge it by. Use a "
            "test set, or train a numbered fold."
        )
    return names


def predict_cases(
    model: Model,
    raw: Path,
    cases: Iterable[str],
    output: Path,
    options: Options | None = None,
    *,
    again: bool = False,
    say: Say | None = None,
) -> tuple[Path, ...]:
    """Segment cases; what was segmented by the same weights is kept.

    Parameters
    ----------
    model
        From ``mambaseg.load_model``.
    raw
        The raw data set's folder.
    cases
        Names.
    output
        Folder for ``<case><file ending>``; made if it is not there.
    options
        For the runs; the defaults if None.
    again
        Segment again what is there.
    say
        Told of every case.

    Raises
    ------
    DataError
        If a case has no images.
    OutputError
        If a result cannot be written.
    """
    dataset = read_raw(raw)
    ending = str(dataset.get("file_ending", ".nii.gz"))
    chosen = options or Options()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(output, error.strerror or type(error).__name__) from error
    mark = output / ".model.json"
    weights = _identity(model, chosen)
    if again or not _same(mark, weights):
        for old in output.glob(f"*{ending}"):
            old.unlink()
        mark.write_text(json.dumps(weights), encoding="utf-8")
    wanted = list(cases)
    return tuple(_written(model, raw, dataset, wanted, output, ending, chosen, say))


def _written(
    model: Model,
    raw: Path,
    dataset: Mapping[str, Any],
    cases: Sequence[str],
    output: Path,
    ending: str,
    options: Options,
    say: Say | None,
) -> Iterable[Path]:
    networks = NetworkCache()
    for number, case in enumerate(cases, start=1):
        path = output / f"{case}{ending}"
        if not path.is_file():
            result = segment(find_images(raw, dataset, case).read(), model, options, networks=networks)
            write_segmentation(result, path)
            if say is not None:
                say(f"{case} ({number} of {len(cases)})")
        yield path


def _identity(model: Model, options: Options) -> dict[str, Any]:
    chosen = options.to_json()
    return {
        "weights": {fold: model.weights_sha256(fold) for fold in model.folds},
        "options": {name: chosen[name] for name in ("folds", "tile_step", "mirror", "precision")},
    }


def _same(mark: Path, weights: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8")) == weights)
    except (OSError, ValueError):
        return False  # never finished, or another program's folder
