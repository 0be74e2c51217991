"""Segmenting cases of a raw data set with the engine, for evaluation.

The engine is what people will use, so it is what is measured; its labels are nnU-Net's (``export/verify.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaseg.api import segment
from mambaseg.errors import OutputError
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.postprocess import single_labels
from mambaseg.io import write_segmentation
from mambaseg.io.files import cannot_write, replacing
from mambaseg.io.formats import READABLE, ending_of
from mambaseg.models.model import Model
from mambaseg.options import Options
from mambaseg_train.errors import DataError
from mambaseg_train.export.images import find_images
from mambaseg_train.files import MARK_FILE
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
    """Segment cases; what was segmented by the same weights is kept, what was by others is removed.

    A file beside the label maps (``.model.json``) says which weights and options made them and lists them: only what it
    lists is ever removed or taken for a result.

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
        If a result cannot be written, or the folder holds label maps of anyone else.
    """
    dataset = read_raw(raw)
    ending = str(dataset.get("file_ending", ".nii.gz"))
    chosen = options or Options()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(output, error.strerror or type(error).__name__) from error
    mark = _Mark(output / MARK_FILE, _identity(model, chosen))
    _refuse_strangers(output, ending, mark.files)
    if again or not mark.same:
        for name in mark.files:
            (output / name).unlink(missing_ok=True)
        mark.begin()
    wanted = list(cases)
    return tuple(_written(model, raw, dataset, wanted, output, ending, chosen, mark, say))


def _written(
    model: Model,
    raw: Path,
    dataset: Mapping[str, Any],
    cases: Sequence[str],
    output: Path,
    ending: str,
    options: Options,
    mark: _Mark,
    say: Say | None,
) -> Iterable[Path]:
    networks = NetworkCache()
    for number, case in enumerate(cases, start=1):
        path = output / f"{case}{ending}"
        if not path.is_file():
            result = segment(find_images(raw, dataset, case).read(), model, options, networks=networks)
            mark.add(path.name)
            write_segmentation(result, path)
            if say is not None:
                say(f"{case} ({number} of {len(cases)})")
        yield path


def _identity(model: Model, options: Options) -> dict[str, Any]:
    chosen = options.to_json()
    return {
        "weights": {fold: model.weights_sha256(fold) for fold in model.folds},
        "options": {name: chosen[name] for name in ("folds", "tile_step", "mirror", "precision")},
        "kept_largest": [label.name for label in single_labels(model.spec, options)],
    }


class _Mark:
    """What made the label maps of a folder, and which files they are.

    Parameters
    ----------
    path
        Where it stands.
    identity
        Weights and options that are about to segment.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, dict(identity)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None  # never begun, or another program's folder
        found = found if isinstance(found, dict) else {}
        listed = found.pop("files", None)
        names = listed if isinstance(listed, list) else []
        # Plain names only: a mark must not reach out of its folder
        self.files = tuple(name for name in names if isinstance(name, str) and Path(name).name == name)
        self.same = found == self._identity and isinstance(listed, list)

    def begin(self) -> None:
        """Start anew, with no file."""
        self._write(())

    def add(self, name: str) -> None:
        """List a file. Before it is written: what an interruption leaves is then known to be ours."""
        self._write(tuple(dict.fromkeys((*self.files, name))))

    def _write(self, files: tuple[str, ...]) -> None:
        with replacing(self._path, ".json") as temporary:
            temporary.write_text(json.dumps({**self._identity, "files": list(files)}), encoding="utf-8")
        self.files = files


def _refuse_strangers(output: Path, ending: str, ours: Iterable[str]) -> None:
    """Experts' contours in the same folder would be removed, or taken for a result."""
    endings = (*READABLE, ending.lower())
    known = set(ours)
    found = sorted(
        path.name
        for path in output.iterdir()
        if not path.name.startswith(".") and path.name not in known and ending_of(path, endings) is not None
    )
    if found:
        shown = ", ".join(f"'{name}'" for name in found[:3]) + (" ..." if len(found) > 3 else "")
        raise OutputError(
            f"'{output}' holds {len(found)} images or label maps that were not segmented into it ({shown}), and might "
            "be overwritten. Nothing was touched. Choose an empty folder, or one of an earlier run of this command."
        )
