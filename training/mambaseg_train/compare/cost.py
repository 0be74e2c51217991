"""What a trained network costs: parameters, operations, memory and time of training."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.trainer.record import peak_of, read_record, seconds_per_step


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
    device
        Where it was trained.
    """

    parameters: int
    operations: int
    patch: tuple[int, ...]
    batch: int
    steps: int
    peak_bytes: int | None
    seconds_per_step: float | None
    device: str


def measure_cost(results: Sequence[tuple[Path, str]]) -> Cost:
    """Measure from finished trainings of one network.

    Parameters
    ----------
    results
        nnU-Net's results folder and fold of each run.
    """
    from mambaseg.models import load_model
    from mambaseg.networks.counting import count_operations, count_parameters

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
        device=str(records[0].get("device", "")),
    )
