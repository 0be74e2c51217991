"""A user's data folder and an engine's model folder with packages as they lie on disk, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHA = "0" * 64


def description(**changes: Any) -> dict[str, Any]:
    """A whole ``model.json``, two paired kidneys in CT."""
    side = {"scheme": "SCT", "value": "7771000", "meaning": "Left"}
    kidney = {
        "category": {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"},
        "type": {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"},
        "type_modifier": side,
    }
    return {
        "schema_version": 1,
        "id": "kidneys",
        "version": "1.0.0",
        "title": "Kidneys in CT",
        "text": "Both kidneys.",
        "network": {
            "name": "residual_unet",
            "spatial_dims": 3,
            "in_channels": 1,
            "num_classes": 3,
            "architecture": {"n_stages": 2},
        },
        "patch_size": [16, 32, 32],
        "spacing": [2.5, 0.8, 0.8],
        "channels": [{"role": "CT", "modality": "CT"}],
        "normalisation": [{"scheme": "zscore"}],
        "labels": [
            {"name": "left_kidney", "value": 1, "color": [200, 10, 20], "terminology": kidney},
            {"name": "right_kidney", "value": 2, "color": [20, 10, 200]},
        ],
        "mirror_axes": [0],
        "paired_labels": [[1, 2]],
        "trained_on": "40 scans",
        "tested_on": "10 scans",
        "figures": [{"metric": "Dice", "structure": "left_kidney", "value": 0.93, "spread": 0.02, "control": 0.92}],
        "licence": "CC-BY-4.0",
        "citation": "Somebody et al.",
        "weights": [{"fold": "0", "file": "fold_0.safetensors", "sha256": SHA, "bytes": 100}],
        **changes,
    }


def put_package(root: Path, name: str = "kidneys", **changes: Any) -> Path:
    """Write a package folder below ``root``."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(description(id=name, **changes)), encoding="utf-8")
    (folder / "fold_0.safetensors").write_bytes(b"\0" * 100)
    (folder / "card.md").write_text("# Card", encoding="utf-8")
    (folder / "LICENSE").write_text("Text", encoding="utf-8")
    return folder


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """One model of a catalogue."""
    return {
        "id": name,
        "version": "2.0.0",
        "title": "Hearts in MR",
        "text": "Four chambers.",
        "modality": "MR",
        "structures": ["left_atrium", "left_ventricle"],
        "network": "umamba_enc",
        "bytes": 123_000_000,
        "sha256": SHA,
        "urls": ["https://example.org/model.mambaseg"],
        "licence": "Apache-2.0",
        **changes,
    }


def put_catalogue(engine_models: Path, *entries: dict[str, Any]) -> None:
    """Write a catalogue into an engine's model folder."""
    engine_models.mkdir(parents=True, exist_ok=True)
    value = {"schema_version": 1, "models": list(entries)}
    (engine_models / "catalogue.json").write_text(json.dumps(value), encoding="utf-8")
