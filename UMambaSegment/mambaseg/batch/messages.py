"""What a batch and the processes of its devices say to each other: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mambaseg.cases import Case
from mambaseg.inference.progress import Progress


@dataclass(frozen=True)
class Common:
    """What all processes of a batch are told at the beginning.

    Attributes
    ----------
    model, orientation
        Where the model lies, and how it is to see images.
    folder, ending
        Where results go, and the ending of the segmentations.
    recipe
        What a result depends on: the process must come to the same.
    resume, overlap
        As `segment_batch` has them.
    """

    model: str
    orientation: str
    folder: str
    ending: str
    recipe: Mapping[str, Any]
    resume: bool
    overlap: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Common:
        """Read what `to_json` gave."""
        return cls(**value)


def encode(message: Mapping[str, Any]) -> bytes:
    """Make the line for a message: ASCII, with its line end."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Read a line.

    Raises
    ------
    ValueError
        If it is no JSON object.
    """
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("a line is no JSON object")  # noqa: TRY004  (as for every other line that is none)
    return value


def case_to_json(case: Case) -> dict[str, Any]:
    """Plain values for a case."""
    return {"name": case.name, "paths": [str(path) for path in case.paths], "fault": case.fault}


def case_from_json(value: Mapping[str, Any]) -> Case:
    """Read what `case_to_json` gave."""
    return Case(str(value["name"]), tuple(Path(path) for path in value["paths"]), str(value["fault"]))


def progress_from_json(value: Mapping[str, Any]) -> Progress:
    """Read the fields of a `Progress`."""
    left = value["seconds_left"]
    return Progress(
        str(value["stage"]),
        int(value["done"]),
        int(value["total"]),
        float(value["seconds"]),
        None if left is None else float(left),
    )
