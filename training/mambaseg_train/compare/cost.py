"""What a trained network costs: parameters, operations, memory and time of training."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mambaseg_train.trainer.record import peak_of, read_record, seconds_per_step

_NO_CUDA = ("cpu", "mps")


@dataclass(frozen=True)
class Cost:
    """Of one network.

    Attributes
    ----------
    parameters
        Number.
    operations
        Multiply-accumulates of one forward pass on one patch, scans counted.
    patch, batch
        As planned for this network.
    steps
        Optimiser steps of a run.
    peak_bytes
        Largest peak in training: the device's on CUDA, the process's on the CPU (interpreter and libraries included);
        None where it is not known.
    seconds_per_step
        Median over runs; None where it is not known.
    devices
        Where its runs were trained, each once.
    settings
        As they were in force in training, without the seed; empty where they are not known.
    coarse
        Whether the network gives logits at several resolutions, which deep supervision needs.
    """

    parameters: int
    operations: int
    patch: tuple[int, ...]
    batch: int
    steps: int
    peak_bytes: int | None
    seconds_per_step: float | None
    devices: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    coarse: bool = True

    @property
    def device(self) -> str:
        """All devices in one text."""
        return "; ".join(self.devices)

    @property
    def samples(self) -> int:
        """Seen in training."""
        return self.steps * self.batch

    @property
    def amp(self) -> bool | None:
        """Whether mixed precision was in use, which is on CUDA only; None where it is not known."""
        asked = self.settings.get("amp")
        on_cuda = any(not device.startswith(_NO_CUDA) for device in self.devices)
        return None if asked is None else bool(asked) and on_cuda

    @property
    def deep_supervision(self) -> bool | None:
        """Whether the loss was at several resolutions; None where it is not known."""
        asked = self.settings.get("deep_supervision")
        return None if asked is None else bool(asked) and self.coarse


def measure_cost(results: Sequence[tuple[Path, str]]) -> Cost:
    """Measure from finished trainings of one network.

    Parameters
    ----------
    results
        nnU-Net's results folder and fold of each run.
    """
    from mambaseg.models import load_model
    from mambaseg.networks.counting import count_operations, count_parameters
    from mambaseg_train.networks.traits import traits

    folder, fold = results[0]
    model = load_model(folder, folds=[fold])
    network = model.build_network()
    spec = model.spec
    records = [read_record(place / f"fold_{name}") for place, name in results]
    seconds = [value for record in records if (value := seconds_per_step(record)) is not None]
    peaks = [value for record in records if (value := peak_of(record)) is not None]
    steps = [sum(epoch["steps"] for epoch in record.get("epochs") or []) for record in records]
    plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
    configuration = str(spec.source["configuration"])
    settings = records[0].get("settings") or {}
    batch = int(settings.get("batch") or 0) or int(plans["configurations"][configuration]["batch_size"])
    return Cost(
        parameters=count_parameters(network),
        operations=count_operations(network, (1, spec.network.in_channels, *spec.patch_size)).total,
        patch=spec.patch_size,
        batch=batch,
        steps=max(steps, default=0),
        peak_bytes=max(peaks, default=None),
        seconds_per_step=statistics.median(seconds) if seconds else None,
        devices=tuple(dict.fromkeys(name for record in records if (name := str(record.get("device") or "")))),
        settings={name: value for name, value in settings.items() if name != "seed"},
        coarse=traits(spec.network.name).deep_supervision,
    )
