"""What this computer has and whether the engine works on it, as one text to copy into a question."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mambaseg.memory import MemoryProbe, SystemMemory, host_total
from mambaseg.paths import user_data_folder
from mambaseg.version import VERSION

if TYPE_CHECKING:
    from mambaseg.inference.progress import Cancel, ProgressCallback
    from mambaseg.models.model import Model
    from mambaseg.result import Result

_PACKAGES = (
    "torch",
    "numpy",
    "SimpleITK",
    "pydicom",
    "safetensors",
    "click",
    "tqdm",
    "fastjsonschema",
    "numba",
    "mamba-ssm",
)
_OPTIONAL = {"numba": "not installed; it makes the CPU much faster", "mamba-ssm": "not installed; not needed"}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LITTLE_DISK = 2e9
_GIGA = 1e9


@dataclass(frozen=True)
class Finding:
    """One line: a topic, what was looked at, what was found, and whether that is as it should be."""

    topic: str
    name: str
    value: str
    ok: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is amiss."""
        return all(finding.ok for finding in self.findings)

    def text(self) -> str:
        """All findings, to read and to copy; what is amiss is marked and counted at the end."""
        width = max((len(finding.name) for finding in self.findings), default=0)
        lines: list[str] = []
        topic = ""
        for finding in self.findings:
            if finding.topic != topic:
                topic = finding.topic
                lines += ["", topic] if lines else [topic]
            lines.append(f"{'  ' if finding.ok else '! '}{finding.name.ljust(width)}  {finding.value}")
        amiss = sum(not finding.ok for finding in self.findings)
        marked = "1 line is marked with '!'" if amiss == 1 else f"{amiss} lines are marked with '!'"
        lines += ["", "Everything works." if amiss == 0 else f"{marked}: these need a look."]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}


Probe = Callable[[], Iterator[Finding]]


def diagnose(memory: MemoryProbe | None = None, environment: Mapping[str, str] | None = None) -> Diagnosis:
    """Look at versions, devices, memory, disk, scan backends and proxy, and run a tiny network end to end.

    Nothing is raised: what fails becomes a line of its own.

    Parameters
    ----------
    memory
        Where free memory is asked for; the system if None.
    environment
        Environment variables; this process's if None.
    """
    probe = memory or SystemMemory()
    variables = os.environ if environment is None else environment
    probes: tuple[tuple[str, Probe], ...] = (
        ("Versions", _versions),
        ("Computer", lambda: _computer(probe)),
        ("Devices", lambda: _devices(probe)),
        ("Models", _models),
        ("Selective scan", _scan_backends),
        ("Network access", lambda: _proxies(variables)),
        ("Trial run", _trial),
    )
    return Diagnosis(tuple(finding for topic, look in probes for finding in _run(topic, look)))


def _run(topic: str, look: Probe) -> list[Finding]:
    """The findings of one probe, and its failure as a further one."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as error:  # noqa: BLE001  (a probe: whatever goes wrong is what the person wants to read)
        why = " ".join(str(error).split())
        found.append(Finding(topic, "failed", f"{type(error).__name__}: {why}", ok=False))
    return found


def _versions() -> Iterator[Finding]:
    topic = "Versions"
    yield Finding(topic, "mambaseg", VERSION)
    yield Finding(topic, "Python", f"{platform.python_version()} ({sys.executable})")
    for name in _PACKAGES:
        try:
            yield Finding(topic, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            absent = _OPTIONAL.get(name)
            yield Finding(topic, name, absent or "not installed; install it, it is needed", ok=absent is not None)


def _size(count: float) -> str:
    return f"{count / _GIGA:.1f} GB"


def _computer(memory: MemoryProbe) -> Iterator[Finding]:
    topic = "Computer"
    yield Finding(topic, "system", platform.platform())
    yield Finding(topic, "processor", f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    yield Finding(topic, "memory", f"{_size(memory.host_free())} free of {_size(host_total())}")


def _devices(memory: MemoryProbe) -> Iterator[Finding]:
    import torch

    from mambaseg.cards import refused_cards
    from mambaseg.devices import available_devices, device_title

    built = torch.version.cuda or getattr(torch.version, "hip", None)
    yield Finding(
        "Devices", "torch built for", f"{'ROCm' if torch.version.cuda is None else 'CUDA'} {built}" if built else "CPU"
    )
    for name in available_devices():
        value = device_title(torch.device(name))
        free = memory.device_free(name)
        if free is not None:
            total = torch.cuda.get_device_properties(name).total_memory
            value += f", {_size(free)} free of {_size(total)}"
        yield Finding("Devices", name, value)
    for name, why in refused_cards().items():
        yield Finding("Devices", name, why)


def _models() -> Iterator[Finding]:
    from mambaseg.models import Store, bundled_models

    topic = "Models"
    folder = user_data_folder() / "models"
    there = next(place for place in (folder, *folder.parents) if place.exists())
    yield Finding(topic, "folder", str(folder))
    writable = os.access(there, os.W_OK | os.X_OK)
    told = "yes" if writable else f"no: '{there}' refuses; set MAMBASEG_HOME to a folder that may be written to"
    yield Finding(topic, "writable", told, ok=writable)
    free = shutil.disk_usage(there).free
    yield Finding(
        topic, "free disk", f"{_size(free)}{'' if free >= _LITTLE_DISK else ' (little)'}", ok=free >= _LITTLE_DISK
    )
    yield Finding(topic, "bundled", ", ".join(bundled_models()) or "none")
    installed = Store().list()
    yield Finding(topic, "installed", ", ".join(item.id for item in installed if not item.problem) or "none")
    for item in installed:
        if item.problem:
            yield Finding(topic, item.id, item.problem, ok=False)


def _scan_backends() -> Iterator[Finding]:
    from mambaseg import scan
    from mambaseg.devices import available_devices

    topic = "Selective scan"
    for device in available_devices():
        for check in scan.check_all(device):
            off = "" if check.error is None else f" (off by {check.error:.1g})"
            fine = check.usable or "not installed" in check.reason
            yield Finding(topic, f"{check.name} on {device}", f"{check.reason}{off}", ok=fine)
        yield Finding(topic, f"chosen on {device}", next(iter(scan.available_backends(device)), "none"))
    if "numba" in scan.available_backends("cpu"):
        from mambaseg.scan.numba_backend import cache_note

        yield Finding(topic, "numba", cache_note())
    import torch

    from mambaseg.lean import lean_check

    for name, half in (("lean networks on cpu", None), ("lean networks in bfloat16", torch.bfloat16)):
        lean = lean_check(half)
        yield Finding(topic, name, lean.reason, ok=lean.usable or lean.expected)


def hide_credentials(value: str) -> str:
    """A proxy's address without the name and password in it."""
    scheme, mark, rest = value.partition("://") if re.match(r"[A-Za-z][\w+.-]*://", value) else ("", "", value)
    _, at, host = rest.rpartition("@")
    return re.sub(r"\s+", " ", f"{scheme}{mark}{'***@' if at else ''}{host}")


def _proxies(environment: Mapping[str, str]) -> Iterator[Finding]:
    found = False
    for name in (*_PROXIES, *(name.lower() for name in _PROXIES)):
        if environment.get(name):
            found = True
            yield Finding("Network access", name, hide_credentials(environment[name]))
    if not found:
        yield Finding("Network access", "proxy", "none set in the environment")


def trial_model(channels: int = 1, classes: int = 3) -> Model:
    """A tiny U-Mamba with fixed random weights, which finds nothing real: for the trial run and for tests.

    Parameters
    ----------
    channels
        CT input channels.
    classes
        Output channels, background included.
    """
    import torch

    from mambaseg import networks
    from mambaseg.models.model import MemoryWeights, Model
    from mambaseg.models.spec import Channel, Label, ModelSpec, NetworkSpec, Normalisation, WeightsFile

    architecture: dict[str, Any] = {
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "features_per_stage": [4, 8],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    network = NetworkSpec("umamba_bot", 3, channels, classes, architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = networks.build("umamba_bot", spatial_dims=3, in_channels=channels, num_classes=classes, **architecture)
    spec = ModelSpec(
        id="trial",
        version="1",
        title="Trial network with random weights",
        network=network,
        patch_size=(16, 16, 16),
        spacing=(2.0, 2.0, 2.0),
        channels=(Channel("CT", "CT"),) * channels,
        normalisation=(Normalisation("ct", mean=0.0, std=300.0, lower=-1000.0, upper=1500.0),) * channels,
        labels=tuple(Label(f"structure_{n}", n, (40 * n % 256, 90, 200)) for n in range(1, classes)),
        licence="Apache-2.0",
        weights=(WeightsFile("all", "fold_all.safetensors", "0" * 64, 1),),
    )
    return Model(
        spec, MemoryWeights({"all": built.state_dict()}, {"all": "0" * 64}), "Random weights.\n", "Apache-2.0\n"
    )


def trial_run(progress: ProgressCallback | None = None, cancel: Cancel | Callable[[], bool] | None = None) -> Result:
    """Segment a few slices of noise with `trial_model`, from beginning to end, on the device that ``auto`` chooses."""
    import numpy as np

    from mambaseg.api import segment
    from mambaseg.geometry import Geometry
    from mambaseg.volume import Volume

    voxels = np.random.default_rng(0).normal(0, 300, (20, 24, 28)).astype(np.float32)
    return segment(Volume(voxels, Geometry((2.0, 2.0, 2.5))), trial_model(), None, progress, cancel)


def _trial() -> Iterator[Finding]:
    began = time.monotonic()
    result = trial_run()
    seconds = time.monotonic() - began
    report = result.report
    backends = ", ".join(report["scan_backends"])
    yield Finding("Trial run", "whole way", f"{seconds:.2f} s on {report['device']['name']}, scan by {backends}")
    fits = list(result.labels.shape) == report["input"]["shape"]
    yield Finding(
        "Trial run", "result", "lies on the input's grid" if fits else "does not lie on the input's grid", ok=fits
    )
    for note in report["notes"]:
        yield Finding("Trial run", "note", str(note))
