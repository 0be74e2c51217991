"""Running a demonstration: each step by the command line itself, and what it led to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mambaseg_train.demo.data import make_phantoms, need_source
from mambaseg_train.demo.steps import Layout, Step, steps
from mambaseg_train.demo.tasks import Task
from mambaseg_train.errors import RunError

Say = Callable[[str], None]


class Command(Protocol):
    """Runs ``mambaseg-train`` with arguments and gives the exit code."""

    def __call__(self, arguments: list[str]) -> int:
        """Run it in this process."""
        ...


@dataclass(frozen=True)
class Demonstration:
    """What came out.

    Attributes
    ----------
    dice
        Mean Dice over the structures on the test cases.
    structures
        Mean Dice of each.
    cases
        Number of test cases.
    package
        The model package.
    segmentation, picture
        Of the first test case, by the package.
    seconds
        Altogether.
    """

    dice: float
    structures: Mapping[str, float]
    cases: int
    package: Path
    segmentation: Path
    picture: Path
    seconds: float


@dataclass(frozen=True)
class Wish:
    """What a person asks of a demonstration.

    Attributes
    ----------
    task
        Which.
    work
        Folder for everything it makes.
    data
        Where images and labels are; None looks for them.
    limit
        Only so many patients (synthetic ones too); 0 takes all.
    changes
        Options of ``train`` that differ from the task's.
    """

    task: Task
    work: Path
    data: Path | None = None
    limit: int = 0
    changes: Mapping[str, str] = field(default_factory=dict)


def demonstrate(wish: Wish, command: Command, say: Say, phantoms: int) -> Demonstration:
    """Go through all steps and tell of each.

    Parameters
    ----------
    wish
        What to show.
    command
        The command line.
    say
        Told of every step.
    phantoms
        How many synthetic patients to make where the task has no images.

    Raises
    ------
    RunError
        If a step fails; the same call goes on from there.
    DataError
        If the images are not here.
    """
    began = time.monotonic()
    task = wish.task
    say(f"Demonstration: {task.title}, from images to a model. Everything goes to '{wish.work}'.")
    if task.source:
        source = need_source(task, wish.data)
    else:
        source = make_phantoms(wish.work / "phantoms", wish.limit or phantoms, say)
    wanted = steps(task, wish.work, source, limit=wish.limit, changes=wish.changes)
    for number, step in enumerate(wanted, start=1):
        do(step, f"{number} of {len(wanted)}", command, say, began)
    place = Layout(wish.work, task)
    segmentation, picture = _use(place, say)
    return _told(place, segmentation, picture, time.monotonic() - began, say)


def do(step: Step, number: str, command: Command, say: Say, began: float) -> None:
    """Take a step, and tell of it.

    Raises
    ------
    RunError
        If its command fails.
    """
    say("")
    say(f"Step {number}: {step.title}  [{_clock(time.monotonic() - began)}]")
    say(f"  {step.text}")
    say(f"  $ {step.command}")
    if step.made is not None and step.made.exists():
        say("  done before")
        return
    code = command(list(step.arguments))
    if code != 0:
        raise RunError(f"The step '{step.title}' ended with code {code}; what is above says why. Mend it and go on.")


def _use(place: Layout, say: Say) -> tuple[Path, Path]:
    """Segment the first test case with the package, as anyone would who got it, and see that nothing changed."""
    from mambaseg.api import segment
    from mambaseg.io import read_volume, write_segmentation
    from mambaseg.models import load_model
    from mambaseg.options import Options
    from mambaseg.render import LegendEntry, draw_figure, save_png
    from mambaseg_train.export.images import find_images
    from mambaseg_train.predict import read_raw, test_cases

    dataset = read_raw(place.raw)
    case = test_cases(place.raw)[0]
    say("")
    say(f"Use it: the package segments '{case}', which training never saw.")
    model = load_model(place.package)
    volumes = find_images(place.raw, dataset, case).read()
    result = segment(volumes, model, Options(device="cpu"))
    before = read_volume(place.predictions / f"{case}{dataset['file_ending']}").voxels
    if not np.array_equal(result.labels, before):
        raise RunError(
            f"The package labels '{case}' otherwise than the checkpoint did when it was measured. Please report this."
        )
    segmentation, picture = place.work / f"{case}.seg.nrrd", place.work / f"{case}.png"
    if not volumes[0].is_2d:
        write_segmentation(result, segmentation)
    else:
        segmentation = place.predictions / f"{case}{dataset['file_ending']}"
    legend = [LegendEntry(each.name.replace("_", " "), each.value, each.color) for each in result.segments]
    ct = model.spec.channels[0].modality.upper() == "CT"
    save_png(picture, draw_figure(volumes[0], result.labels, legend, model.spec.title, case, ct=ct))
    return segmentation, picture


def _told(place: Layout, segmentation: Path, picture: Path, seconds: float, say: Say) -> Demonstration:
    summary: dict[str, Any] = json.loads((place.evaluation / "summary.json").read_text(encoding="utf-8"))
    dice = _mean(summary["overall"])
    structures = {item["name"]: _mean(item["statistics"]) for item in summary["structures"]}
    cases = len(summary["cases"])
    say("")
    say(f"Mean Dice {dice:.3f} on {cases} test cases ({', '.join(f'{n} {v:.3f}' for n, v in structures.items())}).")
    say(f"Model package: {place.package}")
    say(f"  import it: mambaseg models import '{place.package}', or 'Import' in 3D Slicer's panel")
    say(f"Its picture of a test case: {picture}; its labels: {segmentation}")
    say(f"Everything took {_clock(seconds)}.")
    return Demonstration(dice, structures, cases, place.package, segmentation, picture, seconds)


def _mean(statistics: list[dict[str, Any]]) -> float:
    found = next(item["mean"] for item in statistics if item["measure"] == "dice")
    return float("nan") if found is None else float(found)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
