"""What converters of NIfTI data sets share: a case from an image and a label file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.layout import Case, Parameter
from mambaseg_train.converters.pieces import Copied, Image, Labels, Piece

LABEL_GEOMETRY = Parameter(
    "label_geometry",
    "keep",
    "'keep' the label's own spacing and origin (the check tells where they disagree with the image), or "
    "take over those 'of_image' where the shapes agree",
    ("keep", "of_image"),
)


def image_piece(path: Path) -> Piece:
    """Copy a ``.nii.gz`` as it is, write anything else anew."""
    return Copied(path) if path.name.endswith(".nii.gz") else Image(path)


def label_piece(path: Path, image: Path, options: Mapping[str, Any], values: Mapping[int, int] | None) -> Piece:
    """Copy the label where nothing about it changes, else write it anew."""
    if options.get("label_geometry") == "of_image":
        return Labels(path, values, image)
    if values is None and path.name.endswith(".nii.gz"):
        return Copied(path)
    return Labels(path, values)


def nifti_case(
    name: str,
    image: Path,
    label: Path | None,
    options: Mapping[str, Any],
    *,
    values: Mapping[int, int] | None = None,
    group: str | None = None,
    annotated: tuple[str, ...] | None = None,
) -> Case:
    """One case of one channel."""
    piece = None if label is None else label_piece(label, image, options, values)
    return Case(name, (image_piece(image),), piece, group or name, annotated)
