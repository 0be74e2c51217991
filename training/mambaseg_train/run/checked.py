"""No planning and no preprocessing of images that were not checked.

nnU-Net reads NIfTI through ITK, which gives zeros for the voxels that a truncated file lacks, without an error; a
network would be taught on them. So a data set is checked once for each state of its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mambaseg_train.checks.dataset import check_dataset
from mambaseg_train.files import write_text

_MARK = "mambaseg_checked.json"
_FOR_PEOPLE = frozenset({"name", "description", "licence", "license", "reference", "release", "mambaseg"})
_OURS = ("annotated", "paired_labels", "split")
_MEASURED = "mambaseg_fingerprint.json"  # of which state nnU-Net's dataset_fingerprint.json is


def state_of(raw: Path) -> str:
    """Digest of a raw data set's state: name, size and time of every training file, and what dataset.json says.

    What dataset.json says for people alone (licence, citation, colours) does not count: a new word there is no reason
    to preprocess for hours.
    """
    files = sorted(path for part in ("imagesTr", "labelsTr") for path in (raw / part).glob("*"))
    state = [(path.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    counted = _counted((raw / "dataset.json").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps([state, counted]).encode()).hexdigest()


def _counted(text: str) -> Any:
    try:
        described = json.loads(text)
    except ValueError:
        return text  # the check that follows says what is wrong with it
    if not isinstance(described, dict):
        return described
    own = described.get("mambaseg")
    ours = {name: own.get(name) for name in _OURS} if isinstance(own, dict) else None
    return [{name: value for name, value in described.items() if name not in _FOR_PEOPLE}, ours]


def ensure_checked(raw: Path, preprocessed: Path, say: Callable[[str], None]) -> bool:
    """Check a raw data set unless it was checked in this very state.

    Parameters
    ----------
    raw, preprocessed
        The data set's own folders.
    say
        Where progress lines and warnings go.

    Returns
    -------
    bool
        Whether its files have changed since an earlier check, so that what was measured on them no longer holds.

    Raises
    ------
    DataError
        If something must be mended.
    """
    mark = preprocessed / _MARK
    state, before = state_of(raw), _read(mark)
    if before == state:
        return False
    say(f"Checking the images of {raw.name} ...")
    report = check_dataset(raw, test=False)
    report.raise_for_errors()
    for finding in report.warnings:
        say(f"  take note: {finding.sentence}")
    preprocessed.mkdir(parents=True, exist_ok=True)
    write_text(mark, json.dumps({"state": state}) + "\n")
    return before is not None


def fingerprint_fits(raw: Path, preprocessed: Path) -> bool:
    """Whether nnU-Net's fingerprint is of the images as they are now; one of unknown origin is taken to be."""
    measured = _read(preprocessed / _MEASURED)
    return measured is None or measured == state_of(raw)


def mark_fingerprint(raw: Path, preprocessed: Path) -> None:
    """Note that nnU-Net's fingerprint is of the images as they are now."""
    write_text(preprocessed / _MEASURED, json.dumps({"state": state_of(raw)}) + "\n")


def _read(mark: Path) -> str | None:
    try:
        return str(json.loads(mark.read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never checked, or not known to be
