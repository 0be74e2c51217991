"""How far each run of a comparison is, in one small JSON file a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mambaseg_train.errors import RunError
from mambaseg_train.files import write_text

Status = Literal["waiting", "trained", "done"]
_STATUS: Mapping[str, Status] = {"waiting": "waiting", "trained": "trained", "done": "done"}


@dataclass(frozen=True)
class RunState:
    """One run.

    Attributes
    ----------
    status
        ``waiting`` (not trained, or in part), ``trained``, ``done`` (predicted too).
    trained_in
        nnU-Net's results folder.
    cases
        What was predicted.
    """

    status: Status = "waiting"
    trained_in: str = ""
    cases: tuple[str, ...] = ()

    def after(self, **changes: Any) -> RunState:
        """The state with some values changed."""
        return replace(self, **changes)


def read_state(path: Path) -> RunState:
    """Read a state; a run that has none is waiting.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    if not path.is_file():
        return RunState()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return RunState(_STATUS[value["status"]], str(value["trained_in"]), tuple(map(str, value["cases"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The state '{path}' is damaged ({error}). Remove it to run that training again.") from error


def write_state(path: Path, state: RunState) -> None:
    """Write a state whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(state), indent=1) + "\n")


def hold_design(path: Path, design: Mapping[str, Any]) -> None:
    """Note what is compared, or see that it is what was begun here; measures and device may change.

    Raises
    ------
    RunError
        If another comparison was begun in this folder.
    """
    wanted = json.loads(json.dumps(design))
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged ({error}). Choose another folder with -o.") from error
    free = {"measures", "metrics", "device"}
    differing = sorted(key for key in {*wanted, *before} - free if wanted.get(key) != before.get(key))
    grown = [key for key in differing if key in {"networks", "seeds", "folds"} and _grown(before, wanted, key)]
    if differing != grown:
        key = next(key for key in differing if key not in grown)
        raise RunError(
            f"'{path.parent}' holds a comparison with another '{key}' ({before.get(key)!r}, now {wanted.get(key)!r}). "
            "Networks, seeds and folds may be added; for anything else choose another folder with -o."
        )
    write_text(path, json.dumps(wanted, indent=1) + "\n")


def _grown(before: Mapping[str, Any], wanted: Mapping[str, Any], key: str) -> bool:
    """More seeds or folds of the same kind, or more networks; one seed's folds are grouped otherwise than seeds."""
    old, new = before.get(key) or [], wanted.get(key) or []
    if key == "seeds" and wanted.get("folds") and len(old) == 1:
        return False
    return bool(old) and set(old) <= set(new)
