"""A whole 512x424x300 CT (the phantom, 0.7x0.7x1.1 mm; network at 1.5 mm): time and peak memory beside nnU-Net 2.8.1.

    python3 dev.py bench ct [--classes 14] [--stages prepare network export whole] [--skip-peer] [--json FILE]

Each stage runs in a process of its own, so that its peak memory is its own. Both sides get the same input, the same
network (a small U-Mamba Bot with random weights) and, for the export, the same random logits. `whole` is our engine
alone, from volume to labels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHAPE, SPACING, TARGET = (300, 424, 512), (0.7, 0.7, 1.1), 1.5
PATCH = (96, 96, 96)
ARCHITECTURE = {
    "patch_size": list(PATCH), "n_stages": 5, "features_per_stage": [8, 16, 32, 64, 64],
    "kernel_sizes": [[3, 3, 3]] * 5, "strides": [[1, 1, 1], *[[2, 2, 2]] * 4],
    "n_conv_per_stage": [2] * 5, "n_conv_per_stage_decoder": [2] * 4,
}  # fmt: skip
STAGES = ("prepare", "network", "export", "whole")


def make_model(classes: int) -> Any:
    """A model of random weights with the wanted number of classes (background included)."""
    import torch

    from mambaseg import networks
    from mambaseg.models.model import MemoryWeights, Model
    from mambaseg.models.spec import Channel, Label, ModelSpec, NetworkSpec, Normalisation, WeightsFile

    torch.manual_seed(0)
    network = networks.build("umamba_bot", spatial_dims=3, in_channels=1, num_classes=classes, **ARCHITECTURE)
    spec = ModelSpec(
        id="bench", version="0", title="bench", network=NetworkSpec("umamba_bot", 3, 1, classes, ARCHITECTURE),
        patch_size=PATCH, spacing=(TARGET,) * 3, channels=(Channel("CT", "CT"),),
        normalisation=(Normalisation("ct", mean=0.0, std=300.0, lower=-1000.0, upper=1000.0),),
        labels=tuple(Label(f"structure {n}", n, (n, n, n)) for n in range(1, classes)),
        weights=(WeightsFile("0", "0.safetensors", "0" * 64, 0),),
    )  # fmt: skip
    return Model(spec, MemoryWeights({"0": network.state_dict()}, {"0": "0" * 64}))


def random_logits(classes: int, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """The same logits for both sides, each in the type it works with, without a second copy."""
    import torch

    logits = torch.empty(classes, *shape, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    for one in logits:
        one.copy_(torch.empty(shape).normal_(generator=generator))
    return logits


def peer(model: Any, classes: int) -> Any:
    """nnU-Net's predictor around the same network."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 1,
        "patch_size": list(PATCH), "spacing": [TARGET] * 3, "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False], "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1}, "batch_dice": False,
        "architecture": {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []},
    }  # fmt: skip
    rule = model.spec.normalisation[0]
    intensities = {"mean": rule.mean, "std": rule.std, "percentile_00_5": rule.lower, "percentile_99_5": rule.upper}
    plans = {
        "dataset_name": "x", "plans_name": "x", "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager", "experiment_planner_used": "x",
        "configurations": {"3d_fullres": configuration}, "original_median_spacing_after_transp": [TARGET] * 3,
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }  # fmt: skip
    dataset = {
        "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 1,
        "labels": {"background": 0, **{f"s{n}": n for n in range(1, classes)}},
    }  # fmt: skip
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    manager = PlansManager(plans)
    network = model.build_network("0")
    predictor.manual_initialization(
        network, manager, manager.get_configuration("3d_fullres"), [network.state_dict()], dataset, "x", None
    )
    return predictor


def run_ours(stage: str, classes: int, volume: Any) -> float:
    """Seconds of one stage of ours."""
    import torch

    import mambaseg
    from mambaseg.inference.export import export_labels
    from mambaseg.inference.predict import PredictionSettings, plan_tiles, predict_logits
    from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network
    from mambaseg.inference.progress import Reporter

    model = make_model(classes)
    frame = make_frame([volume], model.spec)
    tiles = plan_tiles(frame, PATCH, 0.5)
    device = torch.device("cpu")
    logits = random_logits(classes, frame.there.new) if stage == "export" else None
    image = torch.zeros(1, *tiles.image_window_shape) if stage == "network" else None
    began = time.perf_counter()
    if stage == "prepare":
        frame = make_frame([volume], model.spec)
        resample_for_network(prepare([volume], model.spec, frame), frame)
    elif stage == "network":
        settings = PredictionSettings(device, device, None, ())
        predict_logits([lambda: model.build_network("0")], image, classes, tiles, settings, Reporter())
    elif stage == "export":
        export_labels(logits, tiles.image_window, frame, model.spec, Reporter())
    else:
        mambaseg.segment(volume, model, mambaseg.Options(device="cpu"))
    return time.perf_counter() - began


def run_peer(stage: str, classes: int, volume: Any) -> float:
    """Seconds of one stage of nnU-Net's."""
    import numpy as np
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    model = make_model(classes)
    predictor = peer(model, classes)
    grid = tuple(round(s / TARGET * n) for s, n in zip(SPACING[::-1], SHAPE, strict=True))
    properties = {"spacing": list(SPACING[::-1])}
    # nnU-Net gathers its logits in half precision, so that is what its own export gets
    logits = random_logits(classes, grid, torch.half) if stage == "export" else None
    image = torch.zeros(1, *grid) if stage == "network" else None
    data = volume.voxels[None].astype(np.float32) if stage == "prepare" else None
    began = time.perf_counter()
    if stage == "prepare":
        DefaultPreprocessor(verbose=False).run_case_npy(
            data, None, properties, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
        )
    elif stage == "network":
        predictor.predict_logits_from_preprocessed_data(image)
    else:
        properties |= {
            "shape_before_cropping": SHAPE, "shape_after_cropping_and_before_resampling": SHAPE,
            "bbox_used_for_cropping": [[0, n] for n in SHAPE],
        }  # fmt: skip
        convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties,
            num_threads_torch=torch.get_num_threads(),
        )  # fmt: skip
    return time.perf_counter() - began


def child(side: str, stage: str, classes: int, volume_file: str) -> None:
    """Run one stage and print seconds and peak bytes as JSON."""
    import numpy as np

    from mambaseg.geometry import Geometry
    from mambaseg.memory import peak_resident
    from mambaseg.volume import Volume

    volume = Volume(np.load(volume_file), Geometry(spacing=SPACING))
    seconds = (run_ours if side == "ours" else run_peer)(stage, classes, volume)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_resident()}))


def measure(side: str, stage: str, classes: int, volume_file: Path) -> dict[str, float] | None:
    """Run a stage in a process of its own; None, in words, if it died (of too little memory, say)."""
    command = [sys.executable, __file__, "--child", side, stage, str(classes), str(volume_file)]
    environment = {**os.environ, "nnUNet_raw": ".", "nnUNet_preprocessed": ".", "nnUNet_results": "."}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {side} {stage}: ended with code {done.returncode} ({last})")
        return None
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Print one line a stage."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--skip-peer", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    import tempfile

    import numpy as np

    from mambaseg.phantom import make_phantom

    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        volume_file = Path(folder) / "ct.npy"
        began = time.perf_counter()
        np.save(volume_file, make_phantom(shape=SHAPE, spacing=SPACING).volume.voxels)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {chosen.classes} classes; "
              f"phantom made in {time.perf_counter() - began:.1f} s")  # fmt: skip
        for stage in chosen.stages:
            sides = ["ours"] if chosen.skip_peer or stage == "whole" else ["ours", "nnU-Net"]
            found = {side: measure(side, stage, chosen.classes, volume_file) for side in sides}
            ours, theirs = found["ours"], found.get("nnU-Net")
            if ours is None:
                continue
            line = f"{stage:>8}: ours {ours['seconds']:7.1f} s, peak {ours['peak_bytes'] / 1e9:5.2f} GB"
            if theirs is not None:
                line = (
                    f"{theirs['seconds'] / ours['seconds']:6.1f} x faster, "
                    f"{ours['peak_bytes'] / theirs['peak_bytes']:.2f} of the memory | {line}; "
                    f"nnU-Net 2.8.1 {theirs['seconds']:7.1f} s, peak {theirs['peak_bytes'] / 1e9:5.2f} GB"
                )
            print(line, flush=True)
            figures.append({"stage": stage, "classes": chosen.classes, **found})
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
