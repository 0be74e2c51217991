"""What is done to finished labels: only some structures, only their largest component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def keep_only(labels: LabelArray, chosen: Sequence[Label]) -> LabelArray:
    """Set everything that is not one of the chosen labels to background, in place."""
    labels[~np.isin(labels, [label.value for label in chosen])] = 0
    return labels


def keep_largest(labels: LabelArray, chosen: Sequence[Label]) -> LabelArray:
    """Keep each chosen label's largest component (voxels joined by faces, edges or corners), in place.

    Components are numbered in a box around each part that empty planes set apart, so stray pieces far away cost no
    memory for what lies between.
    """
    for label in chosen:
        mask = labels == label.value
        mask ^= _largest(mask)
        labels[mask] = 0
    return labels


def _largest(mask: Mask) -> Mask:
    """The largest component of a mask; of several, the first."""
    found, most = np.zeros_like(mask), 0
    for box in _set_apart(mask):
        part = mask[box]
        if np.count_nonzero(part) <= most:
            continue
        image = sitk.ConnectedComponent(sitk.GetImageFromArray(part.astype(np.uint8)), True)
        components = sitk.GetArrayViewFromImage(image)
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        if sizes.max() > most:
            most = int(sizes.max())
            found[...] = False
            found[box] = components == sizes.argmax()
    return found


def _set_apart(mask: Mask) -> Iterator[Box]:
    """Boxes that hold all of a mask and between any two of which lies a plane without any of it."""
    open_boxes: list[Box] = [tuple(slice(0, size) for size in mask.shape)]
    while open_boxes:
        box = open_boxes.pop()
        part = mask[box]
        for axis in range(part.ndim):
            runs = _runs(np.any(part, axis=tuple(other for other in range(part.ndim) if other != axis)))
            if runs != [(0, part.shape[axis])]:
                start = box[axis].start
                parts = [(*box[:axis], slice(start + a, start + b), *box[axis + 1 :]) for a, b in runs]
                open_boxes.extend(reversed(parts))
                break
        else:
            yield box


def _runs(occupied: Mask) -> list[tuple[int, int]]:
    """Half-open ranges of what is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], occupied, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
