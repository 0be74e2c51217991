"""What a published data set looks like once it was found on disk: values that every converter gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mambaseg_train.converters.pieces import Piece
from mambaseg_train.errors import RecipeError

Ending = Literal[".nii.gz", ".png"]
Channels = tuple[str, ...]
RGB: Channels = ("R", "G", "B")


@dataclass(frozen=True)
class Case:
    """One case: where its images and label come from, and what it belongs to.

    Attributes
    ----------
    name
        Name of the case in the nnU-Net data set.
    images
        One piece a file: one for each channel, or a single one for a colour picture.
    label
        Where the label comes from; None for a test case without labels.
    group
        What must not be torn apart by a split: the patient, or the video a frame is from.
    annotated
        Names of the labels that were annotated in this case, or None for all.
    instances
        A picture of instance numbers (cells, nuclei) beside the label, or None.
    """

    name: str
    images: tuple[Piece, ...]
    label: Piece | None
    group: str
    annotated: tuple[str, ...] | None = None
    instances: Piece | None = None


@dataclass(frozen=True)
class Layout:
    """Everything a converter found in a published folder.

    Attributes
    ----------
    channels
        nnU-Net channel names; ``CT`` brings nnU-Net's CT normalisation.
    labels
        Name to value, ``background`` first with 0, values without gaps.
    ending
        ``.png`` for natural 2D pictures, ``.nii.gz`` otherwise.
    modality
        DICOM modality where there is one (``CT``, ``MR``, ``DX``), else what the pictures are.
    training, test
        The cases; ``test`` holds those that the publisher keeps for testing.
    paired_labels
        Pairs (left, right) of label names that mirroring left and right exchanges.
    left_out
        Files that belong to no case, each in a sentence.
    """

    channels: Channels
    labels: Mapping[str, int]
    ending: Ending
    modality: str
    training: tuple[Case, ...]
    test: tuple[Case, ...] = ()
    paired_labels: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """One choice a converter leaves to the recipe or the person.

    ``choices`` limits a text, or each entry of a list; without it the kind of the default value does.
    """

    name: str
    default: Any
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converter:
    """A published layout that can be read.

    Attributes
    ----------
    name
        Name used in recipes and on the command line.
    title
        What the data set is.
    tree
        The layout as its publisher gives it, for people.
    read
        Finds the cases in a folder; nothing but names and small text files is read.
    parameters
        Choices.
    """

    name: str
    title: str
    tree: str
    read: Callable[[Path, Mapping[str, Any]], Layout]
    parameters: tuple[Parameter, ...] = field(default=())


PARTIAL = Parameter("partial", "no", "convert although some of the published cases are missing", ("no", "yes"))


def labels_in_order(*names: str) -> dict[str, int]:
    """``background`` with 0 and the names with 1, 2, 3 ... as nnU-Net wants them.

    Raises
    ------
    RecipeError
        If a name is there twice, is empty, or is that of the background.
    """
    for place, name in enumerate(names):
        if not name.strip() or name.strip().lower() == "background":
            raise RecipeError(
                f"The structure {place + 1} is named '{name}', but the background has the value 0 already and a "
                "structure needs a name of its own. Name the structures only, in the order of their values from 1."
            )
        if name in names[:place]:
            raise RecipeError(
                f"Two structures are named '{name}', so that one of them would be lost. Give each a name of its own."
            )
    return {"background": 0} | {name: value for value, name in enumerate(names, start=1)}
