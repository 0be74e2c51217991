"""What a head-and-neck model does beyond its test cases: ordinary surroundings, fine grids, other bodies, sides."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mambaseg.api import segment
from mambaseg.demo import dice
from mambaseg.geometry import Geometry
from mambaseg.inference.kept import NetworkCache
from mambaseg.io import read_volume
from mambaseg.models.model import Model
from mambaseg.options import Options
from mambaseg.phantom import make_phantom
from mambaseg.result import Result
from mambaseg.volume import Volume
from mambaseg_train.bundled import contours, hardship
from mambaseg_train.converters.openkbp import ORGANS, WHOLE_BODY_ML
from mambaseg_train.converters.surroundings import kept_slices, outside_of, surround

Say = Callable[[str], None]
Scan: TypeAlias = tuple[Volume, NDArray[np.integer]]  # and its labels
PHANTOMS = range(900_001, 900_007)  # seeds that no training takes
_FINE = (512, 0.98, 2.0)  # pixels along an edge, mm within and between the slices of a clinical scan
_CORD = "spinal cord"
_FEW = 4
_TURNS = (20, 40)  # degrees
_LEAST_ML = 1.0  # of a structure in a part of a scan, below which there is nothing to judge


@dataclass(frozen=True)
class Behaviour:
    """Sentences for the card, each from what was measured just now, and whether all was as it must be.

    Attributes
    ----------
    sentences
        What was found.
    swaps
        Test cases in which left and right were exchanged.
    invented_ml
        Largest volume (ml) of a head-and-neck structure in a scan of the abdomen; None where there was none to try.
    """

    sentences: tuple[str, ...]
    swaps: int
    invented_ml: float | None


class _Runner:
    """Segments with one model on the CPU, its network built once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.values = {label.name: label.value for label in model.spec.labels}
        self._networks = NetworkCache()

    def run(self, volume: Volume) -> Result:
        """Segment a volume."""
        return segment(volume, self.model, Options(device="cpu"), networks=self._networks)


def examine_head_neck(model: Model, source: Path, predictions: Path, abdomen: Path | None, say: Say) -> Behaviour:
    """Try a head-and-neck model on what its test cases do not show.

    Parameters
    ----------
    model
        The package.
    source
        OpenKBP's folder, whose ``validation_*`` cases were never trained on.
    predictions
        Label maps of those cases by this model, for the look at left and right.
    abdomen
        A CT without head and neck, or None.
    say
        Told what is tried.
    """
    runner = _Runner(model)
    say("Left and right in the test cases ...")
    swaps, sides = _swapped(predictions, runner.values)
    say("Contours of the test cases ...")
    found = [f"Left and right parotid changed sides in {swaps} of {sides} test cases that show both."]
    found += contours.sentences(_contours(source, predictions, runner.values))
    say("Test cases with simulated couch, head rest, mask and noise ...")
    cases = list(_whole_cases(source))
    plain, ordinary = _with_surroundings(runner, source, cases)
    found.append(
        f"{len(cases)} test cases shown down to the shoulders: mean Dice {plain:.3f} as they are (masked to the body), "
        f"{ordinary:.3f} with simulated couch, head rest, mask, clothes and noise around them."
    )
    say("Some of them on the grid of a clinical scan ...")
    few = cases[:: max(1, len(cases) // _FEW)][:_FEW]
    fine = _on_fine_grid(runner, source, few)
    found.append(
        f"{len(fine)} of these sampled anew as a full-field scan of 512 x 512 pixels (0.98 x 0.98 x 2 mm) with those "
        f"surroundings: mean Dice {np.mean(fine):.3f}."
    )
    say("Turned heads, scans that end early, metal ...")
    found += _on_hard_scans(runner, [_read(source, case) for case in few])
    say("Phantoms ...")
    found.append(_on_phantoms(runner))
    invented = None
    if abdomen is not None:
        say("A CT of the abdomen ...")
        volumes = runner.run(read_volume(abdomen)).volumes_ml()
        others = {name: volume for name, volume in volumes.items() if name != _CORD}
        invented = max(others.values())
        worst = max(others, key=lambda name: others[name])
        rest = f"at most {invented:.1f} ml of anything else ({worst})" if invented else "nothing else"
        found.append(
            f"In a CT of the abdomen and pelvis, which shows none of them but the spinal cord, it finds "
            f"{volumes[_CORD]:.1f} ml of spinal cord and {rest}."
        )
    return Behaviour(tuple(found), swaps, invented)


def _swapped(predictions: Path, values: Mapping[str, int]) -> tuple[int, int]:
    """Predictions whose right parotid lies further left than the left one, and how many show both."""
    swapped = seen = 0
    for path in sorted(predictions.glob("*.nii.gz")):
        labels = read_volume(path).voxels
        sides = [np.argwhere(labels == values[name])[:, 2] for name in ("right parotid", "left parotid")]
        if all(len(columns) for columns in sides):
            seen += 1
            swapped += int(sides[0].mean() >= sides[1].mean())  # columns grow towards the patient's left
    return swapped, seen


def _contours(source: Path, predictions: Path, values: Mapping[str, int]) -> Iterable[contours.Contour]:
    """Every contour of the test cases beside what was predicted."""
    for path in sorted(predictions.glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        volume, truth = _read(source, case)
        yield from contours.look(case, truth, read_volume(path).voxels, volume.geometry.spacing, values)


def _whole_cases(source: Path) -> Iterable[str]:
    with (source / "cases.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["case"].startswith("validation") and float(row["body_ml"]) >= WHOLE_BODY_ML:
                yield row["case"]


def _read(source: Path, case: str) -> Scan:
    volume, labels = (read_volume(source / part / f"{case}.nii.gz") for part in ("images", "labels"))
    return volume, labels.voxels


def _with_surroundings(runner: _Runner, source: Path, cases: Sequence[str]) -> tuple[float, float]:
    """Mean Dice over the contoured structures of the cases: as they are, and with surroundings."""
    plain, ordinary = [], []
    for seed, case in enumerate(cases, start=1):
        volume, truth = _read(source, case)
        changed = surround(volume.voxels, volume.geometry.spacing, 700_000 + seed)
        plain.append(_mean_dice(runner, volume, truth))
        ordinary.append(_mean_dice(runner, Volume(changed, volume.geometry), truth))
    return float(np.mean(plain)), float(np.mean(ordinary))


def _on_fine_grid(runner: _Runner, source: Path, cases: Sequence[str]) -> list[float]:
    """Mean Dice of cases resampled to a clinical scan's grid, its noise added there."""
    size, within, between = _FINE
    scores = []
    for seed, case in enumerate(cases, start=1):
        volume, truth = _read(source, case)
        kept = kept_slices(outside_of(volume.voxels), 0)
        spacing = volume.geometry.spacing
        coarse = surround(volume.voxels[kept], spacing, 800_000 + seed).astype(np.float32)
        number = int(coarse.shape[0] * spacing[2] / between)
        middle = [(n - 1) / 2 for n in coarse.shape]
        shape = (number, size, size)
        steps = (between / spacing[2], within / spacing[1], within / spacing[0])
        offset = [m - s * (n - 1) / 2 for m, s, n in zip(middle, steps, shape, strict=True)]
        image = ndimage.affine_transform(coarse, steps, offset, shape, order=1, mode="nearest")
        image += np.random.default_rng(seed).normal(0, 15, shape).astype(np.float32)
        labels = ndimage.affine_transform(truth[kept], steps, offset, shape, order=0, mode="nearest")
        fine = Volume(np.rint(image).astype(np.int16), Geometry((within, within, between)))
        scores.append(_mean_dice(runner, fine, labels))
    return scores


def _on_hard_scans(runner: _Runner, scans: Sequence[Scan]) -> tuple[str, ...]:
    """Sentences on turned heads, scans cut in two and metal, each beside the same scans as they are."""
    plain = [_score(runner, scan, scan[0].voxels, scan[1]) for scan in scans]
    return (
        f"{len(scans)} of these, mean Dice {np.mean(plain):.3f}, turned: {'; '.join(_turned(runner, scans))}.",
        f"The same cut in two across the middle of the parotids, so that scans begin or end there: mean Dice "
        f"{np.mean(_ended(runner, scans)):.3f} over the structures of which at least {_LEAST_ML:g} ml is left.",
        _metal(runner, scans, plain),
    )


def _turned(runner: _Runner, scans: Sequence[Scan]) -> Iterable[str]:
    for degrees in _TURNS:
        means = []
        for about in ("long", "ears"):
            made = [
                _score(runner, scan, *hardship.turned(_whole(scan), scan[1], scan[0].geometry.spacing, degrees, about))
                for scan in scans
            ]
            means.append(float(np.mean(made)))
        yield f"{means[0]:.3f} by {degrees} degrees about the body's axis, {means[1]:.3f} about that through the ears"


def _ended(runner: _Runner, scans: Sequence[Scan]) -> list[float]:
    parotids = tuple(runner.values[name] for name in ("right parotid", "left parotid"))
    return [_score(runner, scan, *part) for scan in scans for part in hardship.ended(_whole(scan), scan[1], parotids)]


def _metal(runner: _Runner, scans: Sequence[Scan], plain: Sequence[float]) -> str:
    before, after = [], []
    for seed, (scan, score) in enumerate(zip(scans, plain, strict=True), start=1):
        mandible = scan[1] == runner.values["mandible"]
        if mandible.any():
            streaked = hardship.with_metal(_whole(scan), mandible, scan[0].geometry.spacing, seed)
            before.append(score)
            after.append(_score(runner, scan, streaked, scan[1]))
    return (
        f"{len(after)} of them with simulated metal in the teeth and its streaks: mean Dice {np.mean(after):.3f} "
        f"instead of {np.mean(before):.3f}."
    )


def _whole(scan: Scan) -> NDArray[np.int16]:
    return scan[0].voxels.astype(np.int16)


def _score(runner: _Runner, scan: Scan, voxels: NDArray[np.generic], labels: NDArray[np.integer]) -> float:
    return _mean_dice(runner, Volume(voxels, scan[0].geometry), labels, _LEAST_ML)


def _on_phantoms(runner: _Runner) -> str:
    scores = []
    for seed in PHANTOMS:
        made = make_phantom(seed=seed)
        scores.append(_mean_dice(runner, made.volume, made.labels))
    return f"{len(scores)} synthetic phantoms with seeds that were not trained on: mean Dice {np.mean(scores):.3f}."


def _mean_dice(runner: _Runner, volume: Volume, truth: NDArray[np.integer], least_ml: float = 0.0) -> float:
    """Over the structures of which the truth shows something, and not less than ``least_ml``."""
    found = runner.run(volume).labels
    masks = {name: truth == runner.values[name] for name in ORGANS.values()}
    voxel_ml = float(np.prod(volume.geometry.spacing)) / 1000.0
    there = {name: mask for name, mask in masks.items() if mask.any() and mask.sum() * voxel_ml >= least_ml}
    return float(np.mean([dice(found == runner.values[name], mask) for name, mask in there.items()]))
