"""What a run will need, said before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mambaseg.devices import choose_device, choose_precision, device_notes, device_title
from mambaseg.inference.activations import describe_network
from mambaseg.inference.cost import network_cost
from mambaseg.inference.export import deciding_threads
from mambaseg.inference.first_run import first_run_bytes
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.needs import StageBytes, brought_bytes, stage_bytes
from mambaseg.inference.passes import run_placements, runs_lean
from mambaseg.inference.pipeline import allowed_mirror_axes, check_backend, chosen_folds
from mambaseg.inference.postprocess import choose_labels, single_labels
from mambaseg.inference.predict import mirror_combinations
from mambaseg.inference.preprocess import make_frame
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.memory import MemoryProbe, SystemMemory, gives_back
from mambaseg.models.model import Model
from mambaseg.options import Options
from mambaseg.volume import Volume

_GIGA = 1e9
_KEPT_BY_ALLOCATOR = 150_000_000  # of what a pass held, where the C library cannot be asked to give it back


@dataclass(frozen=True)
class Forecast:
    """What a run will need and where it will fit.

    Attributes
    ----------
    device
        The device's name for torch, and `device_title` for a person.
    host_bytes, device_bytes
        Memory the run takes on top of what the process holds now; ``device_bytes`` is None on the CPU.
    host_free, device_free
        What is free now; ``device_free`` is None where the system does not tell.
    seconds
        Estimated time, from a short measurement on this device.
    tiles
        Passes of the network, mirrors and folds included.
    fits
        Whether the first placement fits into what is free.
    plan
        Sentences: where the run begins, and what it will do if memory is short.
    """

    device: str
    device_title: str
    host_bytes: int
    device_bytes: int | None
    host_free: int
    device_free: int | None
    seconds: float
    tiles: int
    fits: bool
    plan: tuple[str, ...]

    def sentence(self) -> str:
        """One line for a person, such as "needs about 3.1 of 8.0 GB, about 40 s on this device"."""
        need, free = self.host_bytes, self.host_free
        if self.device_bytes is not None and self.device_free is not None:
            need, free = self.device_bytes, self.device_free
        return (
            f"Needs about {max(0.1, need / _GIGA):.1f} of {free / _GIGA:.1f} GB free, "
            f"about {_duration(self.seconds)} on {self.device_title}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {**asdict(self), "plan": list(self.plan), "sentence": self.sentence()}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


@dataclass(frozen=True)
class NetworkBytes:
    """What networks take in the computer's memory: passes for moments, parameters, and of these what stays there."""

    passes: int = 0
    parameters: int = 0
    stay: int = 0


def host_peak(held: StageBytes, first_run: int, network: NetworkBytes, *, given_back: bool) -> int:
    """Largest sum of what the three stages of a run hold in the computer's memory.

    Parameters
    ----------
    held
        What lies there.
    first_run
        What the process loads, from `first_run_bytes`.
    network
        What the networks take there.
    given_back
        Whether what a pass held goes back to the system before the export (`mambaseg.memory.gives_back`).
    """
    passes = held.image + held.padded + held.sums + network.passes + network.parameters
    kept = 0 if given_back else min(network.passes, _KEPT_BY_ALLOCATOR)
    export = held.sums + held.export + network.stay + kept
    return first_run + max(held.prepare, passes, export)


def make_forecast(
    volumes: Sequence[Volume],
    model: Model,
    options: Options,
    memory: MemoryProbe | None = None,
    networks: NetworkCache | None = None,
) -> Forecast:
    """Work out memory and time of a run.

    Parameters
    ----------
    volumes, model, options
        As for a run.
    memory
        Where free memory is asked for; the system if None.
    networks
        Where the run will find networks and keep them; if None, it builds one and keeps none.

    Raises
    ------
    InputError, OptionError, ModelError, ResourceError
        As the run itself would.
    """
    probe = memory or SystemMemory()
    spec = model.spec
    device = choose_device(options.device)
    check_backend(options.scan_backend, str(device))
    choose_labels(spec.labels, options.structures, "structures")
    single_labels(spec, options)
    frame = make_frame(volumes, spec, options.roi)
    folds = chosen_folds(model, options)
    title, free = device_title(device), probe.host_free()
    if any(w.stop <= w.start for w in frame.wanted):
        plan = ("The region holds nothing but zero voxels, so nothing will run.",)
        return Forecast(str(device), title, 0, None, free, None, 0.0, 0, True, plan)
    tiles = plan_tiles(frame, spec.patch_size, options.tile_step)
    precision = choose_precision(options.precision, device)
    lean = runs_lean(device, precision)
    device_free = probe.device_free(str(device))
    order = run_placements(frame, tiles, model, options, device, probe)
    first_run = first_run_bytes(spec.network.spatial_dims)  # as it is before the trial
    cost = network_cost(describe_network(spec), spec.patch_size, str(device), lean=lean, half=precision)
    activations = cost.activation_bytes * order[0].tile_batch
    kept = NetworkCache() if networks is None else networks
    parameters = kept.to_come(model, str(device), len(folds), cost.parameter_bytes)
    on_host = device.type != "cuda"
    held = stage_bytes(frame, tiles, spec, options, deciding_threads(device))
    passing = activations + brought_bytes(held, device)
    on_device = None if on_host else passing + parameters + held.sums
    there = NetworkBytes(passing, parameters, 0 if networks is None else parameters) if on_host else NetworkBytes()
    host = host_peak(held if on_host else replace(held, sums=0), first_run, there, given_back=gives_back())
    mirrors = len(mirror_combinations(allowed_mirror_axes(spec) if options.mirror else ()))
    passes = len(tiles.tiles) * mirrors * len(folds)
    seconds = passes * cost.seconds
    fits = host <= free and (on_device is None or device_free is None or on_device <= device_free)
    steps = [place.text for place in order]
    retreat = [f"If memory is short: {text}" for text in steps[1:]] or [
        "If memory is short, the run stops and says so."
    ]
    told = (steps[0], *device_notes(options.device), *retreat)
    return Forecast(str(device), title, host, on_device, free, device_free, seconds, passes, fits, told)
