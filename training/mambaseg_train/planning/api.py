"""Planning a data set for a network: fingerprint, then plans."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mambaseg_train import nnunet
from mambaseg_train.checks.inventory import list_cases
from mambaseg_train.errors import DataError, PlanError
from mambaseg_train.labels.description import Description, read_description
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.recipes.model import Recipe
from mambaseg_train.run.checked import ensure_checked, fingerprint_fits, mark_fingerprint

DEFAULT_MEMORY = 8.0  # GiB, nnU-Net's own target
Say = Callable[[str], None]


@dataclass(frozen=True)
class Configuration:
    """One planned configuration: patch and spacing in the network's axis order, batch, bytes of a training step."""

    name: str
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    batch: int
    stages: int
    training_bytes: int

    def sentence(self) -> str:
        """One line for a person."""
        patch, spacing = " x ".join(map(str, self.patch)), " x ".join(f"{value:.2f}" for value in self.spacing)
        return (
            f"{self.name}: patches of {patch} voxels at {spacing} mm, {self.batch} a step, {self.stages} stages, "
            f"about {self.training_bytes / 2**30:.2f} GiB in training"
        )


@dataclass(frozen=True)
class Planned:
    """Plans that were written."""

    dataset: str
    network: str
    trainer: str
    plans_name: str
    file: Path
    configurations: tuple[Configuration, ...]


def plans_name_for(network: str) -> str:
    """Name of a network's plans where a person gives none."""
    return f"mambaseg_{network}"


def plan(
    dataset: str | int,
    network: str,
    folders: nnunet.Folders,
    *,
    memory_gb: float = DEFAULT_MEMORY,
    sizes: Sizes | None = None,
    plans_name: str | None = None,
    spacing: Sequence[float] | None = None,
    device: str = "cuda",
    lowres: bool = True,
    processes: int = 1,
    fresh: bool = False,
    recipe: Recipe | None = None,
    dimension: int | None = None,
    amp: bool | None = None,
    say: Say = print,
) -> Planned:
    """Make nnU-Net plans in which one of our networks stands.

    Parameters
    ----------
    dataset
        Number or full name of a raw data set.
    network
        One of ours.
    folders
        nnU-Net's folders, in use.
    memory_gb
        Memory of the device to train on, in GiB.
    sizes
        Smaller network, patch or batch.
    plans_name
        ``mambaseg_<network>`` if None.
    spacing
        Target spacing in mm along the stored arrays' axes (slices, rows, columns).
    device
        ``cuda`` or ``cpu``.
    lowres
        Plan ``3d_lowres`` where the patch covers little of the image.
    processes
        Worker processes for the fingerprint.
    fresh
        Take the fingerprint anew though there is one.
    recipe
        An experiment whose training settings the plans take over (`train` uses them unless told otherwise), planned in
        its own dimensions only.
    dimension
        Plan in 2 or 3 dimensions only; None: in all of the recipe or the network.
    amp
        Plan for, and train with, mixed precision or without; None leaves the paper's choice.
    say
        Where progress lines go.

    Raises
    ------
    DataError
        If the data set is not there, or does not pass its checks.
    PlanError
        If the network is not known, does not fit into the memory, is not in the recipe or the dimension, or sizes make
        no sense.
    """
    about = traits(network)
    chosen = sizes or Sizes()
    training = {} if recipe is None else _training_of(recipe, network, say)
    if amp is not None:
        training["amp"] = amp
    batch = training.pop("batch", None)
    if batch is not None and chosen.batch is None:
        chosen = replace(chosen, batch=batch)
    dimension = _dimension(network, dimension, recipe)
    if device not in {"cuda", "cpu"} or not math.isfinite(memory_gb) or memory_gb <= 0:
        raise PlanError(f"Plans are made for 'cuda' or 'cpu' and a memory above 0 GiB, not '{device}', {memory_gb}.")
    if spacing is not None and (len(spacing) != 3 or any(not value > 0 for value in spacing)):
        raise PlanError(f"The spacing must be three numbers above 0, in mm, not {list(spacing)}.")
    folders.use()
    name = nnunet.dataset_name(dataset, folders)
    raw = folders.raw / name
    described = read_description(raw / "dataset.json")
    changed = ensure_checked(raw, folders.preprocessed / name, say)
    place = folders.preprocessed / name
    _fingerprint(name, folders, processes, fresh or changed or not fingerprint_fits(raw, place), say)
    mark_fingerprint(raw, place)
    size = None if recipe is None else _whole_pictures(recipe)
    if size is not None and spacing is None:
        spacing = _spacing_for(size, json.loads((place / "dataset_fingerprint.json").read_text(encoding="utf-8")))
        chosen = chosen if chosen.max_patch is not None else replace(chosen, max_patch=max(size))
        wanted = " x ".join(map(str, size))
        say(f"  take note: the paper resizes each picture to {wanted}; here all are brought to one spacing, at")
        say("  which the median one has that size. Its augmentation and start weights are not used")
    from mambaseg_train.labels.directions import left_right_axis
    from mambaseg_train.planning.planner import MambasegPlanner

    say(f"Planning {about.title} for {memory_gb:g} GiB ...")
    with contextlib.redirect_stdout(io.StringIO()):
        planner = MambasegPlanner(
            name,
            network,
            memory_gb,
            plans_name or plans_name_for(network),
            chosen,
            spacing,
            device,
            lowres,
            dimension,
        )
        planner.training, planner.recipe = training, "" if recipe is None else recipe.id
        _check_cases(described, planner.dataset, raw)
        axis = left_right_axis([case["images"][0] for case in planner.dataset.values()]) if described.pairs else None
        planner.left_right_axis = axis
        plans: dict[str, Any] = planner.plan_experiment()
    found = tuple(_summary(key, value) for key, value in plans["configurations"].items())
    for each in found:
        say(f"  {each.sentence()}")
    _say_labels(described, axis, say)
    file = place / f"{planner.plans_identifier}.json"
    return Planned(name, network, about.trainer, planner.plans_identifier, file, found)


def _dimension(network: str, asked: int | None, recipe: Recipe | None) -> int | None:
    """The one to plan in, or None for all that the network exists in."""
    about = traits(network)
    if asked is not None and asked not in about.dims:
        exists = " and ".join(f"{number}D" for number in about.dims)
        raise PlanError(
            f"{about.title} exists in {exists}, so it cannot be planned in {asked}D. Choose another network."
        )
    if recipe is None:
        return asked
    own = int(recipe.dimension[0])
    if asked not in {None, own}:
        raise PlanError(f"The recipe '{recipe.id}' is one in {own}D, not in {asked}D. Leave one of the two out.")
    return own


def _training_of(recipe: Recipe, network: str, say: Say) -> dict[str, Any]:
    """Training settings of a recipe; what of it no plan can hold is said."""
    if network not in recipe.trainers:
        raise PlanError(
            f"The recipe '{recipe.id}' does not train '{network}'. Choose one of its networks "
            f"({', '.join(recipe.trainers)}), or leave --recipe out."
        )
    training = recipe.known_training
    stated = ", ".join(f"{name} {value}" for name, value in training.items()) or "none, so the trainer's own"
    say(f"Settings of the recipe '{recipe.id}': {stated}")
    return training


def _whole_pictures(recipe: Recipe) -> tuple[int, int] | None:
    """Rows and columns to which an experiment resizes whole pictures; None where it takes patches."""
    size = recipe.published.get("size")
    if size is None or recipe.published.get("size_means") == "patch":
        return None
    rows, columns = size
    return int(rows), int(columns)


def _spacing_for(size: Sequence[int], fingerprint: dict[str, Any]) -> tuple[float, ...]:
    """The spacing in mm at which the median image's slices have that many rows and columns; slices stay apart."""
    spacings = np.array(fingerprint["spacings"], float)
    extents = np.array(fingerprint["shapes_after_crop"], float) * spacings
    apart = float(np.median(spacings[:, 0]))
    return (apart, *(float(np.median(extents[:, axis + 1])) / edge for axis, edge in enumerate(size)))


def _check_cases(described: Description, training: Collection[str], raw: Path) -> None:
    """A case that is annotated in part must be there, among those for training or for testing."""
    ending = str(json.loads((raw / "dataset.json").read_text(encoding="utf-8")).get("file_ending", ""))
    testing = {case.name for case in list_cases(raw, ending, "Ts")[0]}
    unknown = [case for case in described.annotated if case not in training and case not in testing]
    if unknown:
        raise DataError(
            f"'annotated' in the dataset.json names the case '{unknown[0]}', which is not among the cases. Correct its "
            "name, or else its missing classes would be taught as background."
        )


def _summary(name: str, plan: dict[str, Any]) -> Configuration:
    return Configuration(
        name,
        tuple(int(edge) for edge in plan["patch_size"]),
        tuple(float(value) for value in plan["spacing"]),
        int(plan["batch_size"]),
        len(plan["architecture"]["arch_kwargs"]["strides"]),
        int(plan["mambaseg"]["training_bytes"]),
    )


def _say_labels(described: Description, axis: int | None, say: Say) -> None:
    if described.annotated:
        say(f"  {len(described.annotated)} cases have part of the classes annotated; the loss will respect it")
    if described.pairs:
        where = "images lie differently in their files, so mirroring is off" if axis is None else "mirroring swaps them"
        say(f"  left and right are told apart ({', '.join('/'.join(pair) for pair in described.pairs)}); {where}")


def _fingerprint(name: str, folders: nnunet.Folders, processes: int, fresh: bool, say: Say) -> None:
    file = folders.preprocessed / name / "dataset_fingerprint.json"
    if fresh or not file.is_file():
        say(f"Looking at the images of {name} ...")
        from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                extract_fingerprint_dataset(
                    nnunet.dataset_number(name), num_processes=processes, clean=True, show_progress_bar=False
                )
        except (RuntimeError, OSError, ValueError, AssertionError, KeyError) as error:
            file.unlink(missing_ok=True)
            raise DataError(
                f"The images of {name} could not be read ({error}). Run `mambaseg-train check`, which names the file."
            ) from error
    measured = json.loads(file.read_text(encoding="utf-8"))["foreground_intensity_properties_per_channel"]
    for channel, values in measured.items():
        odd = next((key for key, value in values.items() if not math.isfinite(value)), None)
        if odd is not None:
            file.unlink()  # or else it would be used once the images are mended
            raise DataError(
                f"The {odd} of channel {channel} inside the labels of {name} is not a number, so an image holds NaN or "
                "infinite values, or no label marks anything. Run `mambaseg-train check`, which names the file."
            )
