"""An evaluation from folder to folder: find, read, score, summarise, compare, draw."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mambaseg.io.formats import READABLE
from mambaseg.io.read import read_volume
from mambaseg.volume import Volume
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation import files as label_files
from mambaseg_train.evaluation.files import PairFiles
from mambaseg_train.evaluation.instances import separated
from mambaseg_train.evaluation.measures import measure, short_title
from mambaseg_train.evaluation.overlays import WorstCase, draw_worst_case
from mambaseg_train.evaluation.paired import Comparison, compare
from mambaseg_train.evaluation.plots import box_plot, paired_plot
from mambaseg_train.evaluation.report import Evaluation, make_evaluation, tolerance_text, write_json
from mambaseg_train.evaluation.scoring import OBJECTS, object_ids, score_case
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.structures import LabelScheme, Structure
from mambaseg_train.evaluation.summary import case_means
from mambaseg_train.evaluation.table import Score, write_scores
from mambaseg_train.evaluation.truths import check_truth

Say = Callable[[str], None]
_PLOTTED = ("dice", "nsd", "hd95", "f1")
_RANKED_BY = ("f1", "dice", "iou", "nsd")


@dataclass(frozen=True)
class Request:
    """What is to be evaluated.

    Attributes
    ----------
    predictions, truth
        Folders; see `mambaseg_train.evaluation.files.find_pairs`.
    scheme
        What the labels mean.
    settings
        What is measured.
    cases
        The only cases, or None for all.
    images
        Folders in which ``<case>_0000`` is looked for, for the pictures of the worst cases.
    modality
        Of the first channel.
    model
        Name of the predictions.
    """

    predictions: Path
    truth: Path
    scheme: LabelScheme
    settings: MetricSettings
    model: str
    cases: tuple[str, ...] | None = None
    images: tuple[Path, ...] = ()
    modality: str = ""


def score_folder(request: Request, *, processes: int = 1, say: Say | None = None) -> tuple[Score, ...]:
    """Score every case of a folder.

    Raises
    ------
    DataError
        If files do not belong together, or hold what they should not.
    """
    pairs = label_files.find_pairs(request.predictions, request.truth, request.cases)
    _check_settings(request)
    job = functools.partial(_score, scheme=request.scheme, settings=request.settings)
    scores: list[Score] = []
    with _mapping(processes) as mapping:
        for place, (pair, found) in enumerate(zip(pairs, mapping(job, pairs), strict=True), start=1):
            scores += found
            if say is not None:
                say(f"{request.model}: {pair.case} ({place} of {len(pairs)})")
    if not scores:
        raise DataError(
            f"No structure was annotated in any case of '{request.scheme.name}', so there is nothing to score. "
            "Check 'mambaseg.annotated' in its dataset.json."
        )
    return tuple(scores)


def evaluate(
    request: Request,
    output: Path,
    *,
    against: Request | None = None,
    worst: int = 3,
    processes: int = 1,
    say: Say | None = None,
) -> tuple[Evaluation, Comparison | None]:
    """Evaluate predictions, and compare them with another model's on the same cases.

    Writes ``cases.csv``, ``summary.json``, ``plots/*.png`` and ``worst/*.png`` to the output folder; with ``against``
    also ``against_cases.csv``, ``against_summary.json`` and ``paired.json``.

    Parameters
    ----------
    request
        The model in question.
    output
        Folder to write to; made if it is not there.
    against
        The model it is compared with.
    worst
        How many of the worst cases are drawn.
    processes
        How many cases are scored at once.
    say
        Told what is being done, and what could not be drawn and why.

    Raises
    ------
    DataError
        If files do not belong together, or the two models were not scored on the same cases.
    OutputError
        If a file cannot be written.
    """
    for each in (request, *([against] if against is not None else [])):
        # What is missing is said before hours of scoring, and before anything is written
        label_files.find_pairs(each.predictions, each.truth, each.cases)
        _check_settings(each)
    _make(output)
    scores = score_folder(request, processes=processes, say=say)
    keys = request.settings.keys
    other = score_folder(against, processes=processes, say=say) if against is not None else None
    comparison = None
    if against is not None and other is not None:
        names = (request.model, against.model)
        comparison = compare(scores, other, keys, names, groups=request.scheme.groups)
    evaluation = _written(request, scores, output, "")
    if against is not None and other is not None and comparison is not None:
        _written(against, other, output, "against_")
        write_json(output / "paired.json", comparison)
    _draw(request, scores, output, worst, say)
    if other is not None and comparison is not None:
        unit = request.scheme.unit
        for key in _chosen(request.settings):
            note = _note(key, request.settings, unit)
            with _told(say):
                paired_plot(
                    output / "plots" / f"paired_{key}.png", scores, other, comparison, key, unit=unit, note=note
                )
    return evaluation, comparison


def _written(request: Request, scores: Sequence[Score], output: Path, prefix: str) -> Evaluation:
    scheme = request.scheme
    maker = label_files.made_by(request.predictions)
    evaluation = make_evaluation(
        request.model,
        scheme.name,
        request.settings,
        scores,
        unit=scheme.unit,
        weights=maker.weights,
        kept_largest=maker.kept_largest,
    )
    for folder in (output, output / "plots", output / "worst"):
        _make(folder)
    write_scores(output / f"{prefix}cases.csv", scores, request.settings.keys)
    write_json(output / f"{prefix}summary.json", evaluation)
    return evaluation


def _make(folder: Path) -> None:
    from mambaseg.io.files import cannot_write

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error.strerror or type(error).__name__) from error


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterator[tuple[Score, ...]]]]:
    if processes <= 1:
        yield map
        return
    with ProcessPoolExecutor(processes) as pool:
        yield pool.map


def _score(pair: PairFiles, scheme: LabelScheme, settings: MetricSettings) -> tuple[Score, ...]:
    return score_case(label_files.read_pair(pair), scheme, settings)


def _check_settings(request: Request) -> None:
    """Names in the settings must be structures of the data set, and the truth must be what they ask for."""
    settings = request.settings
    check_truth(request.truth, request.scheme, settings)
    for name in (*settings.tolerances, *settings.labelled_slices):
        request.scheme.structure(name)
    if settings.instances is not None and settings.instances.structure is not None:
        request.scheme.structure(settings.instances.structure)


@contextmanager
def _told(say: Say | None) -> Iterator[None]:
    """A plot of nothing is a sentence: the figures are written all the same."""
    try:
        yield
    except DataError as error:
        if say is not None:
            say(str(error))


def _chosen(settings: MetricSettings) -> tuple[str, ...]:
    return tuple(key for key in settings.keys if key in _PLOTTED) or settings.keys[:1]


def _draw(request: Request, scores: Sequence[Score], output: Path, worst: int, say: Say | None) -> None:
    unit = request.scheme.unit
    for key in _chosen(request.settings):
        note = _note(key, request.settings, unit)
        with _told(say):
            box_plot(output / "plots" / f"box_{key}.png", scores, key, model=request.model, unit=unit, note=note)
    for place, score in enumerate(_worst(request, scores, worst), start=1):
        with _told(say):
            draw_worst_case(
                output / "worst" / f"{place}_{score.case}_{_plain(score.structure)}.png", _shown(request, score)
            )


def _worst(request: Request, scores: Sequence[Score], count: int) -> list[Score]:
    """The structure that went worst in each of the worst cases."""
    key = next((key for key in _RANKED_BY if key in request.settings.keys), request.settings.keys[0])
    sign = 1 if measure(key).higher_is_better else -1
    cases = sorted(case_means(scores, key).items(), key=lambda item: (sign * item[1], item[0]))[:count]
    return [
        min(
            (score for score in scores if score.case == case and not math.isnan(score.value(key))),
            key=lambda score: sign * score.value(key),
        )
        for case, _ in cases
    ]


def _shown(request: Request, score: Score) -> WorstCase:
    pairs = label_files.find_pairs(request.predictions, request.truth, request.cases)
    pair = next(item for item in pairs if (item.case, item.group) == (score.case, score.group))
    truth, prediction = read_volume(pair.truth), read_volume(pair.prediction)
    labels = [label_files.labels_of(side, path) for side, path in ((truth, pair.truth), (prediction, pair.prediction))]
    structure = Structure(OBJECTS, (1,))
    if score.structure == OBJECTS and request.settings.instances is not None:
        sides = object_ids(labels[0], labels[1], request.scheme, request.settings.instances)
        labels = [separated(side).astype(np.uint8) for side in sides]
    else:
        structure = request.scheme.structure(score.structure)
    numbers = ", ".join(_named_value(key, score.value(key), request.scheme.unit) for key in _chosen(request.settings))
    if score.missed or score.invented:
        numbers = "missed altogether" if score.missed else "predicted, but not there"
    group = f" ({score.group})" if score.group else ""
    return WorstCase(
        case=score.case,
        model=request.model + group,
        structure=structure,
        figures=numbers,
        truth=labels[0],
        prediction=labels[1],
        geometry=truth.geometry,
        is_2d=truth.is_2d,
        image=_image(request, score.case, truth),
        modality=request.modality,
    )


def _named_value(key: str, value: float, unit: str) -> str:
    item = measure(key)
    return f"{short_title(key)} {value:.1f} {unit}" if item.is_distance else f"{short_title(key)} {value:.2f}"


def _image(request: Request, case: str, truth: Volume) -> Volume | None:
    """The first channel, if it is at hand and lies on the labels' grid."""
    for folder in request.images:
        for ending in READABLE:
            path = folder / f"{case}_0000{ending}"
            if path.is_file():
                image = read_volume(path)
                return image if image.shape == truth.shape else None
    return None


def _note(key: str, settings: MetricSettings, unit: str) -> str:
    """A surface Dice says nothing without its tolerance."""
    if key != "nsd":
        return ""
    return "tolerance by structure" if settings.tolerances else tolerance_text(settings, unit)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def modality_of(dataset: Path) -> str:
    """Name of the first channel in ``dataset.json``; empty if it says none."""
    names = json.loads(dataset.read_text(encoding="utf-8")).get("channel_names") or {}
    return str(names.get("0", "")) if isinstance(names, dict) else ""
