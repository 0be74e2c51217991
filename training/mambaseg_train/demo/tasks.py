"""The demonstrations: which data, which network, how small, how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mambaseg_train.errors import RunError
from mambaseg_train.networks.traits import traits


@dataclass(frozen=True)
class Task:
    """One demonstration.

    Attributes
    ----------
    name
        On the command line.
    title
        For people.
    recipe
        Of `mambaseg_train.recipes`; a fifth of its cases is kept for testing.
    number, folder
        nnU-Net's number and name of the data set, as the recipe has them.
    source
        Folder below the data folder; empty: made up on the spot.
    network
        Trained where no other is asked for.
    configuration
        nnU-Net's.
    sizes
        Options of ``plan`` that make the network small enough for a CPU.
    training
        Options of ``train``: the budget, and settings that get far in few steps.
    keep_largest
        Structures that are one piece in everybody, as of ``predict`` and ``export``.
    """

    name: str
    title: str
    recipe: str
    number: int
    folder: str
    source: str
    network: str
    configuration: str
    sizes: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, str] = field(default_factory=dict)
    keep_largest: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Full name of the data set."""
        return f"Dataset{self.number:03d}_{self.folder}"

    @property
    def dims(self) -> int:
        """2 or 3."""
        return 2 if self.configuration == "2d" else 3


# Settings for a few hundred steps: AdamW gets further in them than the papers' SGD with momentum .99, which needs
# thousands; a demonstration is not a result.
_SHORT = {"--set optimizer=adamw": "", "--set schedule=poly": ""}

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "hippocampus",
            "anterior and posterior hippocampus in MR (3D)",
            "hippocampus_3d",
            901,
            "Hippocampus",
            "hippocampus",
            "umamba_bot",
            "3d_fullres",
            {"--features": "8", "--max-features": "64", "--blocks": "1", "--max-patch": "32", "--batch": "2"},
            {"--epochs": "12", "--iterations": "50", "--validation-iterations": "2", "--lr": "0.004", **_SHORT},
        ),
        Task(
            "left-ventricle",
            "left ventricle in cardiac MR slices (2D)",
            "left_ventricle_2d",
            902,
            "LeftVentricle",
            "left_ventricle",
            "mamba_unet",
            "2d",
            # pixels of 4 x 4: then one patch shows the whole picture, and the heart is found by where it lies
            {"--features": "24", "--blocks": "1", "--batch": "4", "--max-patch": "64", "--spacing": "999 4 4"},
            {"--epochs": "10", "--iterations": "100", "--validation-iterations": "2", "--lr": "0.002", **_SHORT},
        ),
        Task(
            "phantom",
            "seven structures in synthetic head-and-neck CT (3D)",
            "phantom_3d",
            907,
            "Phantom",
            "",
            "umamba_bot",
            "3d_fullres",
            {"--features": "8", "--max-features": "48", "--blocks": "1", "--max-patch": "40", "--batch": "2"},
            {"--epochs": "10", "--iterations": "40", "--validation-iterations": "2", "--lr": "0.004", **_SHORT},
        ),
    )
}


def task(name: str, network: str | None = None) -> Task:
    """Give a demonstration, with another network where one is asked for.

    Raises
    ------
    RunError
        If there is none of that name, or the network does not exist in its dimensions.
    """
    from dataclasses import replace

    if name not in TASKS:
        raise RunError(f"There is no demonstration '{name}'. Choose one of {', '.join(TASKS)}.")
    found = TASKS[name]
    if network is None or network == found.network:
        return found
    about = traits(network)
    if found.dims not in about.dims:
        raise RunError(f"'{network}' does not exist in {found.dims}D, which '{name}' is. Choose another network.")
    sizes = {key: value for key, value in found.sizes.items() if about.staged or key != "--max-features"}
    return replace(found, network=network, sizes=sizes)
