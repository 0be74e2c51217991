"""What is compared: data, networks, budget, folds and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mambaseg_train.errors import RunError
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.truths import Part
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.sizes import Sizes

CONTROL = "residual_unet"
TEST = "test"


@dataclass(frozen=True)
class Design:
    """One comparison.

    Attributes
    ----------
    dataset
        Full name of the raw data set.
    networks
        Ours; the control is added in front where it is not among them.
    configuration
        ``2d``, ``3d_fullres`` ...
    seeds
        Of weights, samples and augmentation; each network is trained with each.
    folds
        Folds of the cross-validation, each judged by its own validation cases; empty: one training on all training
        cases, judged by the data set's test cases.
    overrides
        Training settings for all networks alike: the budget (``epochs`` must be there, since the papers' own differ)
        and what else is to be the same.
    sizes, memory_gb, device, spacing
        For planning, as in `planning.api.plan`.
    recipe
        Id or file of an experiment that all networks are planned for, its settings among the overrides; or empty.
    metrics
        Settings of the evaluation, as in a recipe.
    measures
        Measures in the table; all of them are in the CSV.
    control
        The network that every other is held against.
    """

    dataset: str
    networks: tuple[str, ...]
    configuration: str
    seeds: tuple[int, ...] = (12345,)
    folds: tuple[int, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory_gb: float = 8.0
    device: str = "auto"
    spacing: tuple[float, ...] = ()
    recipe: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    measures: tuple[str, ...] = ("dice", "hd95")
    control: str = CONTROL

    def __post_init__(self) -> None:
        """Put the control first and refuse what makes no sense."""
        names = tuple(dict.fromkeys((self.control, *self.networks)))
        object.__setattr__(self, "networks", names)
        dims = 2 if self.configuration == "2d" else 3
        for name in names:
            if dims not in traits(name).dims:
                raise RunError(
                    f"'{name}' does not exist in {dims}D, so it cannot be compared in '{self.configuration}'. "
                    "Choose another configuration, or leave it out."
                )
        if len(names) < 2:
            raise RunError(f"A comparison needs a network beside the control '{self.control}'. Name one with -n.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or len(set(self.folds)) != len(self.folds):
            raise RunError("A comparison needs at least one seed, and each seed and fold once only.")
        if self.overrides.get("epochs") is None:
            raise RunError(
                "A comparison gives every network the same budget, but no number of epochs is set: each would train as "
                "long as its paper did, from 40 to 1000 epochs. Give --epochs, such as --epochs 100."
            )
        for key in self.measures:
            measure(key)
        Sizes(**dict(self.sizes))

    @property
    def part(self) -> Part:
        """Which cases judge."""
        return "training" if self.folds else "test"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            item.name: list(value) if isinstance(value := getattr(self, item.name), tuple) else value
            for item in fields(self)
        }

    def runs(self) -> tuple[Run, ...]:
        """Every training, the control's first, so that the table is of use early."""
        return tuple(
            Run(network, seed, fold)
            for seed in self.seeds
            for fold in (self.folds or ("all",))
            for network in self.networks
        )

    def group(self, run: Run) -> str:
        """What the mean of a run's predictions is called: its seed, or its fold where there is one seed."""
        return f"fold_{run.fold}" if len(self.seeds) == 1 and self.folds else f"seed_{run.seed}"


@dataclass(frozen=True)
class Run:
    """One training of one network; ``fold`` is a number or ``all``."""

    network: str
    seed: int
    fold: int | str

    @property
    def name(self) -> str:
        """For folders."""
        return f"{self.network}_seed{self.seed}_fold{self.fold}"

    def sentence(self) -> str:
        """For people."""
        return f"{traits(self.network).title}, seed {self.seed}, fold {self.fold}"


@dataclass(frozen=True)
class Places:
    """Where a comparison keeps what it makes.

    Attributes
    ----------
    base
        The comparison's folder.
    raw, preprocessed
        nnU-Net's folders, shared with other work.
    """

    base: Path
    raw: Path
    preprocessed: Path

    def results(self, run: Run) -> Path:
        """nnU-Net's results folder of the run's seed: nnU-Net does not tell seeds apart."""
        return self.base / "results" / f"seed_{run.seed}"

    def state(self, run: Run) -> Path:
        """The run's state."""
        return self.base / "runs" / f"{run.name}.json"

    def log(self, run: Run) -> Path:
        """What the run's processes printed."""
        return self.base / "runs" / f"{run.name}.log"

    def predictions(self, design: Design, run: Run) -> Path:
        """Label maps of the run's group."""
        return self.base / "predictions" / run.network / design.group(run)
