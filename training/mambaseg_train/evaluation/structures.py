"""The structures of a data set, and which of them a case was annotated for.

Partial labels. A structure is scored in a case only if the case was annotated for it (``mambaseg.annotated`` in
``dataset.json``; a case that is not listed was annotated for all). Inside an annotated structure's score nothing else
is masked, and that is exact: whoever annotated a structure outlined all of it, so a voxel outside is *not* that
structure, whatever unannotated neighbour it may belong to, and predicting it there is a false positive; a voxel that is
predicted as an unannotated structure is no prediction of the scored one. What an unannotated structure's voxels would
make wrong, its own score and any measure over all classes at once, is not computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError

_NEVER_SCORED = ("background", "ignore")
_PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Structure:
    """A label, or a region: several labels that count as one.

    Attributes
    ----------
    name
        As ``dataset.json`` has it.
    values
        Label values that belong to it.
    """

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class LabelScheme:
    """What the label maps of a data set mean.

    Attributes
    ----------
    name
        Of the data set.
    structures
        In the order of ``dataset.json``, without background.
    ignore
        Value of voxels that are not scored, or None.
    file_ending
        Of label maps, such as ``.nii.gz``.
    annotated
        Names of the structures annotated in a case; a case that is not here has all.
    groups
        What each case belongs to (a patient, a film): cases of one group are not independent of each other. Empty where
        nothing is known.
    instances
        Folders beside ``dataset.json`` whose files hold one number an object: ``training`` and ``test``. Empty if the
        data set has none.
    """

    name: str
    structures: tuple[Structure, ...]
    ignore: int | None = None
    file_ending: str = ".nii.gz"
    annotated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Of distances: pictures have no spacing in mm."""
        return "pixels" if self.file_ending.lower() in _PICTURES else "mm"

    @property
    def values(self) -> tuple[int, ...]:
        """Every value a prediction may have, background first."""
        return tuple(sorted({0, *(value for structure in self.structures for value in structure.values)}))

    def structure(self, name: str) -> Structure:
        """The structure of that name.

        Raises
        ------
        DataError
            If there is none.
        """
        for structure in self.structures:
            if structure.name == name:
                return structure
        known = ", ".join(structure.name for structure in self.structures)
        raise DataError(f"The data set '{self.name}' has no structure '{name}'. It has {known}.")

    def scored(self, case: str) -> tuple[Structure, ...]:
        """The structures that a case was annotated for."""
        if case not in self.annotated:
            return self.structures
        return tuple(structure for structure in self.structures if structure.name in self.annotated[case])


def read_scheme(path: Path) -> LabelScheme:
    """Read ``dataset.json`` of nnU-Net v2, with our part ``mambaseg`` if it has one.

    Raises
    ------
    DataError
        If the file is missing or damaged, or says something that makes no sense.
    """
    if path.is_dir():
        path = path / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no file '{path}'. Give the dataset.json of the data set.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' could not be read as JSON ({error}). Write or copy it again.") from error
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"'{path}' names no labels. Give the dataset.json of an nnU-Net v2 data set.")
    structures = tuple(
        Structure(str(name), _values(path, name, value))
        for name, value in labels.items()
        if name not in _NEVER_SCORED and _values(path, name, value) != (0,)
    )
    if not structures:
        raise DataError(f"'{path}' names background only, so there is nothing to score.")
    ignore = _values(path, "ignore", labels["ignore"])[0] if "ignore" in labels else None
    ours = content.get("mambaseg") or {}
    return LabelScheme(
        name=str(content.get("name") or path.resolve().parent.name),
        structures=structures,
        ignore=ignore,
        file_ending=str(content.get("file_ending", ".nii.gz")),
        annotated=_annotated(path, ours, {structure.name for structure in structures}),
        groups=_texts(path, ours, "groups", "the group (patient) of each case"),
        instances=_texts(path, ours, "instances", "a folder for 'training' and one for 'test'"),
    )


def _values(path: Path, name: str, given: Any) -> tuple[int, ...]:
    """Whole numbers of a label; nnU-Net v2 writes regions as lists."""
    values = given if isinstance(given, (list, tuple)) else [given]
    if not values or any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in values):
        raise DataError(
            f"In '{path}' the label '{name}' has the value {given!r}, but a whole number from 0, or a list of such, is "
            "needed. (nnU-Net v1 had number and name the other way round.)"
        )
    return tuple(values)


def _annotated(path: Path, ours: Any, names: set[str]) -> dict[str, frozenset[str]]:
    given = ours.get("annotated", {}) if isinstance(ours, dict) else None
    if not isinstance(given, dict) or not all(isinstance(value, list) for value in given.values()):
        raise DataError(f"In '{path}', 'mambaseg.annotated' must give a list of label names for each case.")
    for case, structures in given.items():
        unknown = sorted(set(map(str, structures)) - names - set(_NEVER_SCORED))
        if unknown:
            raise DataError(
                f"In '{path}', the case '{case}' is said to be annotated for '{unknown[0]}', which is no label there. "
                f"Labels: {', '.join(sorted(names))}."
            )
    return {str(case): frozenset(map(str, structures)) for case, structures in given.items()}


def _texts(path: Path, ours: Any, name: str, what: str) -> dict[str, str]:
    """A part of ours that maps names to names."""
    given = ours.get(name) if isinstance(ours, dict) else None
    given = {} if given is None else given
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise DataError(f"In '{path}', 'mambaseg.{name}' must give {what} as a text. Correct it, or leave it out.")
    return {str(key): value for key, value in given.items() if value}
