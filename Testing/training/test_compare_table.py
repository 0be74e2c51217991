"""The README's table of networks: made from kept records, put between markers, and never stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mambaseg_train.cli import main
from mambaseg_train.compare.readme import BEGIN, END, block, read_records, with_block
from mambaseg_train.compare.record import RECORD
from mambaseg_train.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def network(name: str, title: str, dice: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "parameters": 340_000,
        "operations": 560_000_000,
        "patch": [32, 32],
        "batch": 2,
        "steps": 1000,
        "seconds_per_step": 0.1061,
        "device": "a CPU",
        "figures": {"dice": dice, "hd95": {"mean": 3.14159, "sd": None}},
    }


def record(**changes: Any) -> dict[str, Any]:
    control = network("residual_unet", "Residual U-Net", {"mean": 0.8341, "sd": 0.0294})
    tested = {"mean": 0.8263, "sd": 0.03, "difference": -0.0078, "low": -0.0131, "high": 0.0004, "p_value": 0.01}
    return {
        "schema_version": 1,
        "title": "Things in pictures",
        "configuration": "2d",
        "cases": 43,
        "seeds": [1, 2],
        "folds": [],
        "unit": "mm",
        "split_sha256": "f399ab493ad8" + "0" * 52,
        "settings": {"epochs": 20},
        "sizes": {"max_features": 64},
        "measures": ["dice", "hd95"],
        "date": "2026-11-25",
        "note": "All were trained alike.",
        "networks": [control, network("umamba_bot", "U-Mamba Bot", tested)],
        **changes,
    }


def kept(folder: Path, name: str, **changes: Any) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / RECORD).write_text(json.dumps(record(**changes)))
    return folder


def test_a_row_a_network_with_its_difference_from_the_control(tmp_path: Path):
    made = block(read_records(kept(tmp_path, "a")))
    assert "| Residual U-Net | 0.834 ± 0.029 | control | 3.14 | control | 0.34 M | 0.56 G | 0.106 |" in made
    assert "| U-Mamba Bot | 0.826 ± 0.030 | -0.008 (-0.013 to +0.000) | 3.14 | - |" in made
    assert "HD95 [mm], mean" in made
    assert "43 held-out cases; 1000 steps of 2 patches of 32 x 32; epochs 20; max features 64; seeds 1, 2" in made
    assert "split `f399ab493ad8`" in made
    assert "All were trained alike." in made
    other = network("vm_unet", "VM-UNet", {"mean": 0.5, "sd": None}) | {"batch": 4, "patch": [64, 64]}
    wider = block([record(networks=[*record()["networks"], other])])
    assert "1000 steps of 2 or 4 patches of 32 x 32 or 64 x 64" in wider


def test_the_table_takes_its_place_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = kept(tmp_path / "kept", "a")
    text = tmp_path / "README.md"
    text.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["table", str(folder), "--into", str(text), "--check"]) != 0
    assert "is not the one" in capsys.readouterr().err
    assert main(["table", str(folder), "--into", str(text)]) == 0
    found = text.read_text()
    assert found.startswith("before\n" + BEGIN)
    assert found.endswith(END + "\nafter\n")
    assert "old" not in found
    assert main(["table", str(folder), "--into", str(text), "--check"]) == 0
    kept(tmp_path / "kept", "b", title="More")
    assert main(["table", str(folder), "--into", str(text), "--check"]) != 0
    assert main(["table", str(folder), "--check"]) != 0
    assert "--check needs --into" in capsys.readouterr().err
    assert main(["table", str(folder)]) == 0
    assert "**More**" in capsys.readouterr().out


def test_what_is_no_record_or_has_no_markers_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no comparison in"):
        read_records(tmp_path)
    with pytest.raises(DataError, match="no markers"):
        with_block("nothing here", f"{BEGIN}\nmade\n{END}")
    with pytest.raises(DataError, match="no markers"):
        with_block(END + BEGIN, f"{BEGIN}\nmade\n{END}")
    kept(tmp_path, "a", schema_version=2)
    with pytest.raises(DataError, match="of this version"):
        read_records(tmp_path)


def test_the_readmes_table_is_the_one_that_the_kept_records_give():
    folder = ROOT / "docs" / "comparison"
    assert main(["table", str(folder), "--into", str(ROOT / "README.md"), "--check"]) == 0
    for each in read_records(folder):
        control = each["networks"][0]
        assert control["name"] == "residual_unet"
        assert all(len(digest) == 64 for item in each["networks"] for digest in item["weights_sha256"].values())
