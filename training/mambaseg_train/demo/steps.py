"""The steps of a demonstration: the commands, and why each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.demo.tasks import Task
from mambaseg_train.networks.traits import traits
from mambaseg_train.recipes import load_recipe

PROGRAM = "mambaseg-train"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    title, text
        What it does, and why.
    arguments
        After the program's name.
    made
        What is there once it was done; it is then not done again. None: always done.
    """

    title: str
    text: str
    arguments: tuple[str, ...]
    made: Path | None = None

    @property
    def command(self) -> str:
        """As a person types it."""
        return f"{PROGRAM} {shlex.join(self.arguments)}"


@dataclass(frozen=True)
class Layout:
    """Where a demonstration keeps its files, below one folder."""

    work: Path
    task: Task

    @property
    def raw(self) -> Path:
        """The raw data set."""
        return self.work / "nnUNet_raw" / self.task.dataset

    @property
    def plans_name(self) -> str:
        """Name of the plans."""
        return f"mambaseg_{self.task.network}"

    @property
    def results(self) -> Path:
        """What ``train`` prints."""
        name = f"{traits(self.task.network).trainer}__{self.plans_name}__{self.task.configuration}"
        return self.work / "nnUNet_results" / self.task.dataset / name

    @property
    def predictions(self) -> Path:
        """Label maps of the test cases."""
        return self.work / "predictions"

    @property
    def truth(self) -> Path:
        """What the test cases are judged by: labels, or numbers of objects where the recipe counts objects."""
        instances = load_recipe(self.task.recipe).metrics.get("instances") or {}
        return self.raw / ("instancesTs" if instances.get("truth") == "ids" else "labelsTs")

    @property
    def evaluation(self) -> Path:
        """Figures of the test cases."""
        return self.work / "evaluation"

    @property
    def package(self) -> Path:
        """The model package."""
        return self.work / f"{self.task.name}.mambaseg"


def options(values: Mapping[str, str]) -> tuple[str, ...]:
    """Options and their values, word by word."""
    return tuple(word for name, value in values.items() for word in (*name.split(), *value.split()))


def single(task: Task) -> tuple[str, ...]:
    """The option of ``predict`` and ``export`` that names the structures which are one piece in everybody."""
    return tuple(word for name in task.keep_largest for word in ("--keep-largest", name))


def steps(
    task: Task, work: Path, source: Path, *, limit: int = 0, changes: Mapping[str, str] | None = None
) -> list[Step]:
    """The commands of a demonstration, in order.

    Parameters
    ----------
    task
        Which.
    work
        Folder for everything it makes.
    source
        Images and labels.
    limit
        Only so many patients; 0 takes all.
    changes
        Options of ``train`` that differ from the task's.
    """
    return [
        *measured_steps(task, work, source, limit=limit, changes=changes),
        _export_step(Layout(work, task)),
    ]


def measured_steps(
    task: Task, work: Path, source: Path, *, limit: int = 0, changes: Mapping[str, str] | None = None
) -> list[Step]:
    """The commands from images to figures on the test cases; parameters as of `steps`."""
    place = Layout(work, task)
    at = ("--folder", str(work))
    number, plans = str(task.number), ("--plans", place.plans_name)
    which = (*plans, "-c", task.configuration)
    few = ("--limit", str(limit)) if limit else ()
    title = traits(task.network).title
    training = {**task.training, **(changes or {})}
    count = int(training["--epochs"]) * int(training["--iterations"])
    return [
        Step(
            "Images and labels become a data set",
            "Some of the patients are kept for testing: training never sees them.",
            ("convert", task.recipe, str(source), *at, *few),
            place.raw,
        ),
        Step(
            f"Plan {title} for these images and this computer",
            "nnU-Net looks at sizes, spacings and intensities; patch and depth follow. Small here, for a CPU.",
            ("plan", number, "--network", task.network, *at, "--device", "cpu", *options(task.sizes)),
        ),
        Step(
            "Preprocess",
            "Crop, normalise and resample once, so that training only reads.",
            ("preprocess", number, *which, *at),
        ),
        Step(
            f"Train {title}",
            f"On all training cases, {count} steps; the papers take up to 250 000. After an interruption the same "
            "command goes on.",
            (
                *("train", number, *which, "--fold", "all", *at, "--device", "cpu", "--workers", "0"),
                *options(training),
            ),
        ),
        Step(
            "Segment the test cases",
            "With the engine that 3D Slicer's panel runs, from the checkpoint as it is.",
            (
                *("predict", str(place.results), "--dataset", str(place.raw), "-o", str(place.predictions)),
                *("--device", "cpu"),  # where a person who got the package may run it, to the last voxel
                *single(task),
            ),
        ),
        Step(
            "Measure",
            "What the recipe measures, such as Dice and surface Dice, by case; with plots and the worst cases.",
            (
                *("evaluate", str(place.predictions), str(place.truth), "--dataset", str(place.raw)),
                *("-o", str(place.evaluation), "--metrics", task.recipe, "--name", title),
            ),
        ),
    ]


def _export_step(place: Layout) -> Step:
    return Step(
        "Make the model package",
        "One file with weights, card, figures and licence; two cases are held against nnU-Net's own labels.",
        (
            *("export", str(place.results), "-o", str(place.package)),
            *("--figures", str(place.evaluation / "summary.json"), "--verify", "2", "--replace"),
            *single(place.task),
            *("--note", "Trained for a few minutes by a demonstration: of no use beyond showing the way."),
        ),
    )
