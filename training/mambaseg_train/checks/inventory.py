"""Which files a raw data set has, by case, as nnU-Net names them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mambaseg_train.checks.report import Finding, quoted

Part = Literal["Tr", "Ts"]


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case: images by channel number, and the label if there is one."""

    name: str
    part: Part
    images: tuple[tuple[int, Path], ...]
    label: Path | None


def list_cases(folder: Path, ending: str, part: Part) -> tuple[list[CaseFiles], list[Finding]]:
    """Find the cases of ``imagesTr`` and ``labelsTr`` (or ``Ts``), and what does not fit together."""
    findings: list[Finding] = []
    images: dict[str, dict[int, Path]] = defaultdict(dict)
    misnamed: list[str] = []
    for file in _files(folder / f"images{part}"):
        match = re.fullmatch(rf"(.+)_(\d{{4}}){re.escape(ending)}", file.name)
        if match is None:
            misnamed.append(file.name)
        else:
            images[match[1]][int(match[2])] = file
    labels: dict[str, Path] = {}
    for file in _files(folder / f"labels{part}"):
        if file.name.endswith(ending):
            labels[file.name[: -len(ending)]] = file
        else:
            misnamed.append(file.name)
    if misnamed:
        findings.append(
            Finding(
                "misnamed",
                "error",
                f"Files in 'images{part}' and 'labels{part}' are not named <case>_<four digits>{ending} and "
                f"<case>{ending}: {quoted(sorted(misnamed))}. Rename them or take them out; nnU-Net would pass them "
                "over or stop.",
            )
        )
    findings += _lonely(images, labels, part)
    cases = [
        CaseFiles(name, part, tuple(sorted(channels.items())), labels.get(name))
        for name, channels in sorted(images.items())
    ]
    return cases, findings


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _lonely(images: dict[str, dict[int, Path]], labels: dict[str, Path], part: Part) -> list[Finding]:
    findings = []
    without_image = tuple(sorted(set(labels) - set(images)))
    if without_image:
        findings.append(
            Finding(
                "missing_image",
                "error",
                f"There is a label but no image in 'images{part}' for {quoted(without_image)}. Add the images or take "
                "the labels out.",
                without_image,
            )
        )
    without_label = tuple(sorted(set(images) - set(labels)))
    if without_label and part == "Tr":
        findings.append(
            Finding(
                "missing_label",
                "error",
                f"There is an image but no label in 'labelsTr' for {quoted(without_label)}. Add the labels, or move "
                "the images to 'imagesTs'.",
                without_label,
            )
        )
    return findings
