"""Data Science Bowl 2018 nuclei as Kaggle and the Broad Institute (BBBC038) publish them: one mask a nucleus.

Source: https://bbbc.broadinstitute.org/BBBC038.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.converters.find import files_in, first_folder, is_data, need_file, need_folder
from mambaseg_train.converters.instances import TARGETS, InstanceClasses, Instances, Target, target_labels
from mambaseg_train.converters.layout import RGB, Case, Converter, Layout, Parameter
from mambaseg_train.converters.pieces import Picture, inside_of
from mambaseg_train.errors import DataError


def _merged(masks: tuple[Path, ...]) -> NDArray[np.uint16]:
    """Masks of single nuclei as numbers; where two overlap, the later one counts."""
    merged: NDArray[np.uint16] | None = None
    for number, file in enumerate(masks, start=1):
        inside = inside_of(file)
        if merged is None:
            merged = np.zeros(inside.shape, np.uint16)
        if merged.shape != inside.shape:
            raise DataError(f"The mask '{file}' has another size than '{masks[0]}'. Get the masks again.")
        merged[inside] = number
    if merged is None:
        raise DataError("A case has no mask at all. Check that the archive was unpacked whole.")
    return merged


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find ``<id>/images/<id>.png`` and ``<id>/masks/*.png``."""
    top = first_folder(source, ["stage1_train", "."], "the pictures of stage 1")
    folders = sorted(entry for entry in top.iterdir() if entry.is_dir() and is_data(entry))
    if not folders:
        raise DataError(f"There is no case in '{top}'. Check that stage1_train was unpacked there.")
    cases = []
    for folder in folders:
        picture = need_file(folder / "images" / f"{folder.name}.png", "the picture of its case")
        masks = tuple(files_in(need_folder(folder / "masks", "the masks of its case"), [".png"], "mask"))
        give = partial(_merged, masks)
        classes = InstanceClasses(give, folder, cast("Target", options["target"]))
        cases.append(
            Case(
                folder.name,
                (Picture(picture, colour=True),),
                classes,
                folder.name,
                instances=Instances(give, folder),
            )
        )
    return Layout(RGB, target_labels(options["target"], "nucleus"), ".png", "microscopy", tuple(cases))


CONVERTER = Converter(
    "dsb2018_kaggle",
    "Data Science Bowl 2018 nuclei, one mask a nucleus",
    """
stage1_train/<id>/
  images/<id>.png
  masks/<mask>.png ...
""",
    read,
    (Parameter("target", "interior_boundary", "what the network learns", TARGETS),),
)
