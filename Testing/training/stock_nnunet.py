"""Runs nnU-Net's own commands, as installed, in one process of its own: one JSON list of command lines as argument.

``nnUNetv2_train`` and ``nnUNetv2_predict`` are these functions; one process saves importing nnU-Net's trainers anew
for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# nnU-Net's search imports trainers that import timm, which imports torchvision. A torchvision built for CUDA beside a
# CPU build of torch fails there, for want of two operators that nothing here uses; they are declared, and no more.
_DECLARE = """
import torch
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def mend_torchvision(folder: Path, environment: Mapping[str, str]) -> str | None:
    """Where torchvision cannot be imported: a folder for PYTHONPATH that lets it; else None."""
    tried = subprocess.run(
        [sys.executable, "-c", "import torchvision"], env=dict(environment), capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return None
    if "torchvision::" not in tried.stderr:
        raise AssertionError(tried.stderr)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_DECLARE)
    return str(folder)


def main(commands: Sequence[Sequence[str]]) -> None:
    """Run commands in turn; a leading ``NAME=value`` sets a variable, as in a shell."""
    for command in commands:
        settings = [part for part in command if part.startswith("MAMBASEG_")]
        os.environ.update(part.split("=", 1) for part in settings)
        name, *arguments = command[len(settings) :]
        sys.argv = [name, *arguments]
        print(f"=== {name}", flush=True)
        if name == "nnUNetv2_train":
            from nnunetv2.run.run_training import run_training_entry as entry
        elif name == "nnUNetv2_predict":
            from nnunetv2.inference.predict_from_raw_data import predict_entry_point as entry
        else:
            raise SystemExit(f"no command {name}")
        entry()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
