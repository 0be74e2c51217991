"""The measures: what each is called, which way is better, and what it is where there is nothing to find.

How empty masks are scored (a structure may be absent from a patient):

=======================  ==========================================  =====================================
                         truth there, prediction empty ("missed")     truth empty, prediction there ("invented")
=======================  ==========================================  =====================================
Dice, IoU, NSD           0                                           0
HD95, ASSD               the image's diagonal                        the image's diagonal
sensitivity              0                                           undefined
precision                0 (scikit-learn's convention)               0
=======================  ==========================================  =====================================

Both empty is right, but says nothing of quality: undefined and left out of the mean, as nnU-Net v2 does it
(``both_empty="skip"``), or perfect, as the evaluation code of U-Mamba (arXiv 2401.04722) has it (``"perfect"``).
Where several seeds, or two models that are compared, saw the same case and one of them invents the structure, those
that rightly leave it out count as perfect beside it.
The diagonal is the worst distance that the image allows (as BraTS sets 373.13 mm; Metrics Reloaded, Maier-Hein et al.,
Nature Methods 21:195, 2024): leaving such cases out would reward a network for missing a structure altogether.
VM-UNet's code for Synapse (``utils.py``) gives a missed structure an HD95 of 0 and an invented one a Dice of 1, which
is not done here. Undefined is NaN in memory, an empty cell in CSV and ``null`` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mambaseg_train.errors import DataError


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes
    ----------
    key
        Column name in CSV and JSON.
    title
        What a person reads.
    higher_is_better
        Direction.
    perfect
        Value of a prediction that equals the truth.
    is_distance
        In mm (pixels in pictures that have no spacing); else a fraction from 0 to 1.
    """

    key: str
    title: str
    higher_is_better: bool = True
    perfect: float = 1.0
    is_distance: bool = False


OVERLAP = (
    Measure("dice", "Dice"),
    Measure("iou", "IoU"),
)
SURFACE = (
    Measure("nsd", "Normalised surface Dice"),
    Measure("hd95", "HD95", higher_is_better=False, perfect=0.0, is_distance=True),
    Measure("assd", "Average surface distance", higher_is_better=False, perfect=0.0, is_distance=True),
)
VOXELS = (
    Measure("sensitivity", "Sensitivity"),
    Measure("specificity", "Specificity"),
    Measure("precision", "Precision"),
    Measure("accuracy", "Accuracy"),
)
INSTANCES = (
    Measure("f1", "Instance F1"),
    Measure("instance_precision", "Instance precision"),
    Measure("instance_recall", "Instance recall"),
)
MEASURES = (*OVERLAP, *SURFACE, *VOXELS, *INSTANCES)
SEMANTIC_KEYS = tuple(measure.key for measure in (*OVERLAP, *SURFACE, *VOXELS))
SURFACE_KEYS = tuple(measure.key for measure in SURFACE)
INSTANCE_KEYS = tuple(measure.key for measure in INSTANCES)
BothEmpty = Literal["skip", "perfect"]


def measure(key: str) -> Measure:
    """The measure of that name.

    Raises
    ------
    DataError
        If there is none.
    """
    found = next((item for item in MEASURES if item.key == key), None)
    if found is None:
        known = ", ".join(item.key for item in MEASURES)
        raise DataError(f"There is no measure '{key}'. Choose from {known}.")
    return found


def short_title(key: str) -> str:
    """What a person reads where there is little room.

    Raises
    ------
    DataError
        If there is no such measure.
    """
    return {"nsd": "NSD", "f1": "F1", "assd": "ASSD"}.get(key) or measure(key).title
