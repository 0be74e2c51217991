"""What keeping only the largest piece of each structure, an option of the panel and of scripts, does to the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaseg.inference.postprocess import keep_largest
from mambaseg.io import read_volume, write_volume
from mambaseg.models.spec import Label
from mambaseg_train.evaluation.report import Evaluation

_CLEARLY = 5.0  # mm of a mean HD95 from which on a structure is named


def write_largest(predictions: Path, folder: Path, labels: Sequence[Label]) -> None:
    """Write every label map of ``predictions`` (``*.nii.gz``) to ``folder`` with one piece of each structure."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(predictions.glob("*.nii.gz")):
        volume = read_volume(path)
        write_volume(keep_largest(volume.voxels.copy(), labels), volume.geometry, folder / path.name)


def sentence(every: Evaluation, largest: Evaluation) -> str:
    """For the card: mean Dice of both, and the structures whose HD95 changes clearly.

    Parameters
    ----------
    every, largest
        The same cases with all pieces, and with the largest of each structure.
    """
    named = []
    for one, other in zip(every.structures, largest.structures, strict=True):
        before, after = (each.statistic("hd95").mean for each in (one, other))
        if abs(before - after) >= _CLEARLY:
            named.append(f"{one.name} {after:.1f} {every.unit} instead of {before:.1f}")
    before, after = (_mean_dice(each) for each in (every, largest))
    changes = f"mean HD95: {', '.join(named)}" if named else "no structure's mean HD95 changes by 5 mm or more"
    return (
        f"With the largest component of each structure only ('Keep the largest component only' in the panel, "
        f"keep_largest in scripts) mean Dice over all structures is {after:.3f} instead of {before:.3f}; {changes}."
    )


def _mean_dice(evaluation: Evaluation) -> float:
    return next(item.mean for item in evaluation.overall if item.measure == "dice")
