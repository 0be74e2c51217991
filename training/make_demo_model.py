#!/usr/bin/env python3
"""Make the demo's small model from synthetic phantoms alone, on two CPU cores in under half an hour.

    .venv/bin/python training/make_demo_model.py
    .venv/bin/python training/make_demo_model.py --network lightm_unet --output out/phantom-lightm_unet
    .venv/bin/python training/make_demo_model.py --network umamba_enc --size full --output out/phantom-umamba_enc-full

A small U-Mamba (Bot) learns the seven structures of ``mambaseg.phantom`` at 4.5 mm. The package goes to
``UMambaSegment/mambaseg/models/bundled/demo-phantom`` with the Dice that the engine itself reached on
phantoms with other seeds. No image of a person is involved: the model is for demonstration and never for patients.
The other 3D networks learn the same way; `dev.py bench whole` measures them so, as trained networks behave. Of
full size they have the published stages and features, see patches of 64 x 64 x 64 at 3 mm and train in bfloat16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mambaseg import networks
from mambaseg.api import segment
from mambaseg.models import load_model
from mambaseg.models.package import write_package
from mambaseg.models.spec import Channel, Figure, ModelSpec, NetworkSpec, Normalisation
from mambaseg.models.structures import make_labels
from mambaseg.networks.base import SegmentationNetwork
from mambaseg.options import Options
from mambaseg.phantom import LABELS, make_phantom

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "UMambaSegment" / "mambaseg" / "models" / "bundled" / "demo-phantom"

CLASSES = len(LABELS) + 1
DEFAULT = "umamba_bot"
NETWORKS = (DEFAULT, "umamba_enc", "lightm_unet", "residual_unet")


@dataclass(frozen=True)
class Plan:
    """What the size of a network decides."""

    spacing: float  # mm, the network's
    patch: int  # voxels along each edge
    features: tuple[int, ...]
    convolutions: int  # a stage
    filters: int  # of LightM-UNet
    rate: float
    steps: int
    batch: int
    half: bool  # train in bfloat16

    def voxels(self, edge: int) -> int:
        """An edge of a phantom that has so many voxels at 4.5 mm."""
        return round(edge * 4.5 / self.spacing)

    def architecture(self, network: str) -> dict[str, Any]:
        """The network's own settings."""
        if network == "lightm_unet":
            return {"init_filters": self.filters}
        stages = len(self.features)
        unet: dict[str, Any] = {
            "n_stages": stages,
            "features_per_stage": list(self.features),
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
            "n_conv_per_stage": [self.convolutions] * stages,
            "n_conv_per_stage_decoder": [self.convolutions] * (stages - 1),
        }
        return {"patch_size": [self.patch] * 3, **unet} if network.startswith("umamba") else unet


PLANS = {
    "small": Plan(4.5, 40, (8, 16, 32, 48), 1, 8, rate=4e-3, steps=450, batch=2, half=False),
    "full": Plan(3.0, 64, (32, 64, 128, 256, 320, 320), 2, 32, rate=1e-3, steps=400, batch=1, half=True),
}
_ENDINGS = {"small": "", "full": "-full"}
SCALING = Normalisation("ct", mean=20.0, std=150.0, lower=-300.0, upper=500.0)
HELD_OUT = (900_001, 900_002, 900_003, 900_004, 900_005, 900_006)

Case = tuple[NDArray[np.float32], NDArray[np.uint8]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and write the package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default=DEFAULT, help=f"(default {DEFAULT})")
    parser.add_argument("--size", choices=list(PLANS), default="small", help="(default small)")
    parser.add_argument("--steps", type=int, default=None, help="optimiser steps (default 450, of full size 400)")
    parser.add_argument("--batch", type=int, default=None, help="patches a step (default 2, of full size 1)")
    parser.add_argument("--cases", type=int, default=48, help="phantoms trained on (default 48)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="package to write")
    chosen = parser.parse_args(arguments)
    if (chosen.network, chosen.size) != (DEFAULT, "small") and chosen.output.resolve() == OUTPUT:
        parser.error("the bundled model is a small U-Mamba; say with --output where another network's package shall go")
    plan = PLANS[chosen.size]
    plan = replace(plan, steps=chosen.steps or plan.steps, batch=chosen.batch or plan.batch)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    started = time.monotonic()
    print(f"making {chosen.cases} phantoms ...", flush=True)
    cases = [_case(seed, rng, plan) for seed in range(1, chosen.cases + 1)]
    network = networks.build(
        chosen.network, spatial_dims=3, in_channels=1, num_classes=CLASSES, **plan.architecture(chosen.network)
    )
    state = _train(network, _batches(cases, rng, plan), plan, started)
    spec = _spec(chosen.network, chosen.size, chosen.cases, plan)
    licence = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    write_package(chosen.output, spec, {"0": state}, _card(spec, chosen.size), licence, half=True, overwrite=True)
    print("measuring on held-out phantoms with the engine itself ...", flush=True)
    measured = replace(spec, figures=_measure(chosen.output))
    written = write_package(
        chosen.output, measured, {"0": state}, _card(measured, chosen.size), licence, half=True, overwrite=True
    )
    for figure in written.figures:
        print(f"  {figure.structure:15s} Dice {figure.value:.3f} +- {figure.spread:.3f}")
    size = written.weights[0].bytes / 1e6
    minutes = (time.monotonic() - started) / 60
    print(f"wrote {chosen.output} ({size:.2f} MB of weights) after {minutes:.1f} minutes")


def _case(seed: int, rng: np.random.Generator, plan: Plan) -> Case:
    """One phantom at the network's spacing, scaled; fields of view, couch, noise and sharpness differ."""
    centre = (rng.uniform(-10, 10), rng.uniform(-10, 10), rng.uniform(-70, 10))
    made = make_phantom(
        shape=(plan.voxels(int(rng.integers(52, 76))), plan.voxels(66), plan.voxels(int(rng.integers(66, 80)))),
        spacing=(plan.spacing,) * 3,
        centre=centre,
        seed=seed,
        noise=float(rng.uniform(0, 20)),
        edge=float(rng.uniform(2.0, 6.0)),
        couch=bool(rng.random() < 0.7),
        body_only=bool(rng.random() < 0.3),
    )
    lower, upper = SCALING.lower or 0.0, SCALING.upper or 0.0
    scaled = (np.clip(made.volume.voxels, lower, upper) - (SCALING.mean or 0.0)) / (SCALING.std or 1.0)
    return scaled.astype(np.float32), made.labels


def _batches(
    cases: Sequence[Case], rng: np.random.Generator, plan: Plan
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Patches ``(batch, 1, k, j, i)`` and labels ``(batch, k, j, i)``, two thirds centred on a structure, for ever.

    No mirroring: left and right are different structures.
    """
    patch = (plan.patch,) * 3
    places = [[np.argwhere(labels == value) for value in range(1, CLASSES)] for _, labels in cases]
    while True:
        images, truths = [], []
        for _ in range(plan.batch):
            number = int(rng.integers(len(cases)))
            image, labels = cases[number]
            middle = np.array([rng.integers(0, n) for n in labels.shape])
            present = [found for found in places[number] if len(found)]
            if rng.random() < 0.67 and present:
                found = present[int(rng.integers(len(present)))]
                middle = found[int(rng.integers(len(found)))] + rng.integers(-10, 11, 3)
            low = [int(np.clip(m - p // 2, 0, n - p)) for m, p, n in zip(middle, patch, labels.shape, strict=True)]
            window = tuple(slice(a, a + p) for a, p in zip(low, patch, strict=True))
            seen = image[window] * rng.uniform(0.9, 1.1) + rng.uniform(-0.1, 0.1)
            images.append(seen + rng.normal(0, rng.uniform(0, 0.12), patch))
            truths.append(labels[window])
        yield (
            torch.from_numpy(np.stack(images)[:, None].astype(np.float32)),
            torch.from_numpy(np.stack(truths).astype(np.int64)),
        )


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus one minus the mean Dice of the structures, over the batch."""
    entropy = functional.cross_entropy(logits, truth)
    share = logits.softmax(1)[:, 1:]
    hot = functional.one_hot(truth, CLASSES).movedim(-1, 1)[:, 1:].float()
    axes = (0, 2, 3, 4)
    common, total = (share * hot).sum(axes), share.sum(axes) + hot.sum(axes)
    return entropy + 1 - ((2 * common + 1) / (total + 1)).mean()


def _train(
    network: SegmentationNetwork,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    plan: Plan,
    started: float,
) -> dict[str, torch.Tensor]:
    """Train; the weights that come back are a running mean over the last steps."""
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=plan.rate, total_steps=plan.steps, pct_start=0.1)
    mean = {name: value.detach().clone() for name, value in network.state_dict().items()}
    recent = 0.0
    for step, (image, truth) in zip(range(plan.steps), batches, strict=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.half):
            logits = network(image)
        loss = _loss(logits.float(), truth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        keep = min(0.98, step / (step + 10))
        for name, value in network.state_dict().items():
            mean[name].mul_(keep).add_(value.detach(), alpha=1 - keep)
        recent = float(loss.detach()) if step == 0 else 0.95 * recent + 0.05 * float(loss.detach())
        if step % 25 == 24 or step == plan.steps - 1:
            print(f"step {step + 1}/{plan.steps}  loss {recent:.3f}  {time.monotonic() - started:.0f} s", flush=True)
    return mean


def _measure(package: Path) -> tuple[Figure, ...]:
    """Dice of each structure, over phantoms that were not trained on, segmented by the engine at another spacing."""
    model = load_model(str(package))
    options = Options(device="cpu")
    scores: dict[str, list[float]] = {name: [] for name in LABELS}
    for seed in HELD_OUT:
        made = make_phantom(seed=seed)
        found = segment(made.volume, model, options).labels
        for name, value in LABELS.items():
            common = int(((found == value) & (made.labels == value)).sum())
            total = int((found == value).sum() + (made.labels == value).sum())
            scores[name].append(2 * common / total if total else 1.0)

    def rounded(value: Any) -> float:
        return round(float(value), 4)

    return tuple(
        Figure("Dice", name, rounded(np.mean(each)), rounded(np.std(each)), cases=len(each))
        for name, each in scores.items()
    )


def _spec(network: str, size: str, cases: int, plan: Plan) -> ModelSpec:
    return ModelSpec(
        id="demo-phantom" if (network, size) == (DEFAULT, "small") else f"phantom-{network}{_ENDINGS[size]}",
        version="1.0.0",
        title="Demonstration on the synthetic phantom (never for patients)",
        text="Seven head-and-neck structures of mambaseg's synthetic CT phantom. It has never seen a person.",
        network=NetworkSpec(network, 3, 1, CLASSES, plan.architecture(network)),
        patch_size=(plan.patch,) * 3,
        spacing=(plan.spacing,) * 3,
        orientation="LPS",
        channels=(Channel("CT", "CT"),),
        normalisation=(SCALING,),
        labels=make_labels(LABELS),
        mirror_axes=(),
        paired_labels=((LABELS["right_parotid"], LABELS["left_parotid"]),),
        trained_on=f"{cases} synthetic phantoms (seeds 1 to {cases}), {plan.steps} steps of {plan.batch} patches",
        tested_on=f"{len(HELD_OUT)} synthetic phantoms with other seeds",
        licence="Apache-2.0",
        source={"script": "training/make_demo_model.py"},
    )


def _card(spec: ModelSpec, size: str) -> str:
    rows = "".join(f"| {f.structure} | {f.value:.3f} | {f.spread:.3f} |\n" for f in spec.figures)
    table = f"| structure | Dice | standard deviation |\n|---|---|---|\n{rows}" if rows else "Not measured yet.\n"
    network = "U-Mamba (Bot)" if spec.network.name == DEFAULT else f"`{spec.network.name}`"
    kind = f"small {network}" if size == "small" else f"{network} of full size"
    return f"""# {spec.title}

**For demonstration only. Never use it on patients.** This {kind} was trained on synthetic phantoms alone;
it has never seen a scan of a person, and what it does on one is undefined.

- Made by `training/make_demo_model.py`, which can be run again.
- Trained on: {spec.trained_on}.
- Tested on: {spec.tested_on}, segmented by the engine at the phantom's usual spacing.
- Structures: {", ".join(label.name for label in spec.labels)}.
- Licence: Apache-2.0.

## Measured on held-out phantoms

{table}
A phantom is far simpler than a person, so these figures say that the engine works, not that the model does.
"""


if __name__ == "__main__":
    main()
