"""Making a bundled model: the commands one by one, the package, a close look at it, and the package with its card."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaseg.models import load_model
from mambaseg.models.model import Model
from mambaseg_train.bundled import pieces
from mambaseg_train.bundled.behaviour import examine_head_neck
from mambaseg_train.bundled.models import Bundled
from mambaseg_train.bundled.speed import measure
from mambaseg_train.compare.record import RECORD
from mambaseg_train.converters.registry import full_options, get_converter
from mambaseg_train.demo.run import Command, do
from mambaseg_train.demo.steps import Layout, Step, measured_steps, single
from mambaseg_train.errors import RunError
from mambaseg_train.evaluation.report import Evaluation, read_evaluation
from mambaseg_train.export.images import find_images
from mambaseg_train.export.provenance import Part
from mambaseg_train.predict import DATASET_FILE, read_raw
from mambaseg_train.recipes import load_recipe

Say = Callable[[str], None]
_VERIFIED = 3  # test cases whose labels are held against nnU-Net's own, with the weights as float16
_SAME = 1e-3  # of a mean Dice: what a card shows
_ROOT = Path(__file__).resolve().parents[3]
_COMPARISONS = _ROOT / "docs" / "comparison"
_ABDOMEN = Path("abdomen") / "ct.nii.gz"


@dataclass(frozen=True)
class Places:
    """Where things are and go.

    Attributes
    ----------
    data
        Folder that holds the data sets' folders.
    work
        For everything that is made on the way.
    packages
        The package becomes a folder in it, named after the model.
    plots
        Likewise the plots of its figures.
    """

    data: Path
    work: Path
    packages: Path
    plots: Path


def make(model: Bundled, places: Places, command: Command, say: Say) -> Path:
    """Go from images to a shipped package; after an interruption the same call goes on.

    Parameters
    ----------
    model
        Which.
    places
        Where.
    command
        The command line ``mambaseg-train``.
    say
        Told of every step, and of every figure with seed, split and weights.

    Returns
    -------
    Path
        The package.

    Raises
    ------
    RunError
        If a step fails.
    """
    began = time.monotonic()
    layout = Layout(places.work, model.task)
    draft, final = places.work / f"{model.id}.draft", places.packages / model.id
    wanted = [
        *measured_steps(model.task, places.work, places.data / model.task.source),
        _export(model, layout, draft, (), verify=0),
    ]
    _same_recipe(model, layout)
    for number, step in enumerate(wanted, start=1):
        do(step, f"{number} of {len(wanted) + 2}", command, say, began)
    seen = examine(model, layout, draft, places, command, say)
    do(_export(model, layout, final, seen), f"{len(wanted) + 2} of {len(wanted) + 2}", command, say, began)
    _keep_plots(layout.evaluation / "plots", places.plots / model.id)
    for sentence in (*provenance(load_model(final), layout), *seen):
        say(f"  {sentence}")
    return final


def _same_recipe(model: Bundled, layout: Layout) -> None:
    """What was converted before must be what the recipe says now, or the card would tell of other data.

    Raises
    ------
    RunError
        If it is not.
    """
    if not (layout.raw / DATASET_FILE).is_file():
        return
    recipe = load_recipe(model.task.recipe)
    found = (read_raw(layout.raw).get("mambaseg") or {}).get("converter") or {}
    known = full_options(get_converter(recipe.converter), recipe.parameters)
    if found != {"name": recipe.converter, "parameters": known}:
        raise RunError(
            f"The data set '{layout.raw}' was converted in another way than the recipe '{model.task.recipe}' says now. "
            "Take another --folder, or remove that one."
        )


def examine(
    model: Bundled, layout: Layout, package: Path, places: Places, command: Command, say: Say
) -> tuple[str, ...]:
    """Measure the shipped weights on the test cases, and what else there is to try.

    Returns
    -------
    tuple[str, ...]
        Sentences for the card.

    Raises
    ------
    RunError
        If the shipped weights do not reach what was measured before they were stored as float16, or left and right
        change sides.
    """
    shipped = places.work / "shipped" / model.id
    raw = layout.raw
    _predict(package, raw, shipped, command)
    before, after = read_evaluation(layout.evaluation / "summary.json"), _score(model, layout, shipped, command)
    found = [_stored(before, after)]
    loaded = load_model(package)
    first = find_images(raw, read_raw(raw), after.cases[0]).files[0]
    found.append(measure(package, first, str(read_raw(raw)["file_ending"])).sentence())
    if model.id == "ct-head-neck":
        abdomen = places.data / _ABDOMEN
        behaviour = examine_head_neck(
            loaded, places.data / model.task.source, shipped, abdomen if abdomen.is_file() else None, say
        )
        if behaviour.swaps:
            raise RunError(f"Left and right parotid changed sides in {behaviour.swaps} test cases: not to be shipped.")
        found += behaviour.sentences
    if loaded.spec.keep_largest:
        every = places.work / "shipped" / f"{model.id}-every-piece"
        _predict(package, raw, every, command, "--keep-largest", "none")
        found.append(pieces.sentence(_score(model, layout, every, command), after))
    return tuple(found)


def _predict(package: Path, raw: Path, output: Path, command: Command, *more: str) -> None:
    _run(command, ["predict", str(package), "--dataset", str(raw), "-o", str(output), "--device", "cpu", *more])


def _score(model: Bundled, layout: Layout, predictions: Path, command: Command) -> Evaluation:
    """Measure label maps of the test cases; the figures go beside their folder."""
    scored = predictions.with_name(f"{predictions.name}-evaluation")
    asked = ["evaluate", str(predictions), str(layout.truth), "--dataset", str(layout.raw), "-o", str(scored)]
    _run(command, [*asked, "--worst", "0", "--metrics", model.task.recipe, "--name", model.title])
    return read_evaluation(scored / "summary.json")


def provenance(model: Model, layout: Layout) -> tuple[str, ...]:
    """Seed, split and weights behind the figures, in words."""
    raw = read_raw(layout.raw)
    spec = model.spec
    seeds = ", ".join(str(fold["settings"].get("seed")) for fold in spec.source["training"].values())
    cases = Part.of(read_evaluation(layout.evaluation / "summary.json").cases)
    return (
        f"{spec.id}: seed {seeds}; split SHA-256 {raw['mambaseg']['split']['sha256']}",
        f"tested on {len(cases.names)} cases, SHA-256 of their names {cases.sha256}",
        *(f"weights {entry.file} SHA-256 {entry.sha256}, {entry.bytes / 1e6:.2f} MB" for entry in spec.weights),
    )


def _stored(before: Evaluation, after: Evaluation) -> str:
    """Figures of the float32 checkpoint beside those of the shipped float16 weights.

    Raises
    ------
    RunError
        If a structure's mean Dice differs by more than .001.
    """
    differences = [
        abs(one.statistic("dice").mean - other.statistic("dice").mean)
        for one, other in zip(before.structures, after.structures, strict=True)
    ]
    worst = max(differences, key=lambda value: math.inf if math.isnan(value) else value)
    if not worst <= _SAME:
        raise RunError(f"Stored as float16 the weights give other figures (mean Dice differs by {worst:.4f}).")
    return (
        f"All {len(after.cases)} test cases were segmented again with the weights as they are shipped (float16): no "
        f"structure's mean Dice changed by more than {worst:.4f}."
    )


def _export(model: Bundled, layout: Layout, destination: Path, checked: Sequence[str], verify: int = _VERIFIED) -> Step:
    texts = ("--id", model.id, "--title", model.title, "--text", model.text, "--family", model.family)
    # The weights are ours; the card names the data's own licence and whom to cite
    licence = ("--licence", "Apache-2.0", "--licence-file", str(_ROOT / "LICENSE.txt"))
    orientation = ("--orientation", model.orientation) if model.orientation else ()
    notes = tuple(word for note in model.notes for word in ("--note", note))
    compared = ("--comparison", str(_COMPARISONS / model.comparison / RECORD)) if model.comparison else ()
    checks = tuple(word for sentence in checked for word in ("--checked", sentence))
    return Step(
        "Make the model package",
        "Weights as float16, card, figures and licence; some cases are held against nnU-Net's own labels.",
        (
            *("export", str(layout.results), "-o", str(destination), "--half", "--replace", "--no-picture"),
            *("--figures", str(layout.evaluation / "summary.json"), "--verify", str(verify)),
            *texts,
            *licence,
            *orientation,
            *single(model.task),
            *notes,
            *compared,
            *checks,
        ),
    )


def _run(command: Command, arguments: list[str]) -> None:
    code = command(arguments)
    if code != 0:
        raise RunError(f"`mambaseg-train {arguments[0]}` ended with code {code}; what is above says why.")


def _keep_plots(made: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for plot in sorted(made.glob("*.png")):
        shutil.copyfile(plot, kept / plot.name)
