"""What is done to finished labels: only some structures, only their largest component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mambaseg.errors import OptionError
from mambaseg.models.spec import Label, ModelSpec
from mambaseg.options import Options


def choose_labels(labels: Sequence[Label], names: Sequence[str] | None, option: str) -> tuple[Label, ...]:
    """The labels with the given names (all without names, or with ``all``).

    Raises
    ------
    OptionError
        If the model has no structure of that name.
    """
    if names is None or "all" in names:
        return tuple(labels)
    known = {label.name: label for label in labels}
    missing = [name for name in names if name not in known]
    if missing:
        raise OptionError(
            f"The model has no structure named {', '.join(repr(name) for name in missing)} (option '{option}'). "
            f"It has: {', '.join(known)}."
        )
    return tuple(known[name] for name in dict.fromkeys(names))


def single_labels(spec: ModelSpec, options: Options) -> tuple[Label, ...]:
    """The labels of which only the largest component is kept: those asked for, or else those that the model names.

    Raises
    ------
    OptionError
        If the model has no structure of a name asked for.
    """
    asked = spec.keep_largest if options.keep_largest is None else options.keep_largest
    return choose_labels(spec.labels, asked, "keep_largest")


LabelArray = NDArray[np.integer[Any]]


def keep_only(labels: LabelArray, chosen: Sequence[Label]) -> LabelArray:
    """Set everything that is not one of the chosen labels to background, in place."""
    labels[~np.isin(labels, [label.value for label in chosen])] = 0
    return labels


def keep_largest(labels: LabelArray, chosen: Sequence[Label]) -> LabelArray:
    """Keep each chosen label's largest component (voxels joined by faces, edges or corners), in place."""
    for label in chosen:
        mask = labels == label.value
        if not mask.any():
            continue
        box = tuple(
            slice(int(where[0]), int(where[-1]) + 1)
            for where in (
                np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)
            )
        )
        components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)), True)
        ordered = sitk.GetArrayFromImage(sitk.RelabelComponent(components, sortByObjectSize=True))
        part = labels[box]
        part[ordered > 1] = 0
    return labels
