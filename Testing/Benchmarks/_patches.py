"""Whole patches of networks on a card: our layers and scan beside the published ones, all else alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from _models import plan
from _points import Setting, apart
from _record import Entry, Record, ratio
from _upstream_layer import published_layers
from torch import Tensor

from mambaseg import networks
from mambaseg.inference.replays import recordable

PUBLISHED = "published"
_PEERS = {
    PUBLISHED: "the published layer and kernel",
    "mamba_ssm": "our layers around the published kernel",
    "torch": "the torch backend",
}


@dataclass(frozen=True)
class Patch:
    """A network and a patch for it.

    Attributes
    ----------
    network
        In evaluation, on the device.
    patch
        One sample.
    edges
        Of the patch.
    """

    network: Any
    patch: Tensor
    edges: list[int]

    def __call__(self) -> Tensor:
        """A pass in half precision, as inference makes it."""
        with self.as_inference():
            logits: Tensor = self.network(self.patch)
        return logits

    @contextmanager
    def as_inference(self) -> Iterator[None]:
        """The modes in which a pass is made."""
        kind = self.patch.device.type
        half = torch.float16 if kind == "cuda" else torch.bfloat16
        with torch.inference_mode(), torch.autocast(kind, dtype=half):
            yield


def patch_of(network: str, size: str, device: str) -> Patch:
    """A network of random weights, always the same, and noise."""
    edges, architecture = plan(network, size)
    torch.manual_seed(0)
    built = networks.build(network, spatial_dims=len(edges), in_channels=1, num_classes=8, **architecture)
    return Patch(built.to(device).eval(), torch.randn(1, 1, *edges, device=device), edges)


def _sides(made: Patch, setting: Setting) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    """Ours first, then each peer, with what has to be around its passes."""
    for name in setting.backends:
        networks.set_scan_backend(made.network, name)
        yield name, nullcontext()
    networks.set_scan_backend(made.network, setting.ours)
    if setting.published is not None:
        yield PUBLISHED, published_layers(made.network, setting.published)


def measure(record: Record, network: str, size: str, setting: Setting, *, compiled: bool = False) -> None:
    """A line for each peer, and for each way to start our kernels all at once."""
    made = patch_of(network, size, setting.device)
    found: dict[str, Entry] = {}
    wanted: Tensor | None = None
    for name, around in _sides(made, setting):
        try:
            with around:
                taken = setting.clock.seconds(made)
                found[name] = {"seconds": taken, "peak_bytes": setting.clock.peak_bytes(made)}
                logits = made()
        except torch.OutOfMemoryError:
            print(f"  {name}: the card's memory does not suffice for a patch of {network}")
            continue
        if name == setting.ours:
            wanted = logits
        elif wanted is not None:
            found[name]["apart"] = apart([wanted], [logits])
    if setting.ours not in found:
        return
    ours = found.pop(setting.ours)
    text = " x ".join(map(str, made.edges))
    for name, theirs in found.items():
        faster = theirs["seconds"] / ours["seconds"]
        record.add(
            f"{ratio(faster)} x {name:>9}  a patch of {network} ({size}, {text}): {ours['seconds'] * 1e3:.1f} ms, "
            f"{_PEERS.get(name, name)} {theirs['seconds'] * 1e3:.1f} ms; at most {theirs['apart']:.1g} of the largest "
            "logit apart",
            {"curve": "patch", "network": network, "size": size, "patch": made.edges, "peer": name,
             "seconds": ours["seconds"], "peer_seconds": theirs["seconds"], "ratio": faster, "apart": theirs["apart"],
             "peak_bytes": ours["peak_bytes"], "peer_peak_bytes": theirs["peak_bytes"]},
        )  # fmt: skip
    networks.set_scan_backend(made.network, setting.ours)
    with made.as_inference():
        _started_at_once(record, made, f"a patch of `{network}` {size} on the card", setting, compiled=compiled)


def _started_at_once(record: Record, made: Patch, what: str, setting: Setting, *, compiled: bool) -> None:
    """The same pass with its kernels started all at once, and compiled, beside one that Python starts one by one."""
    recorder = setting.recorder(made.patch.device)
    ways: dict[str, Callable[[], Callable[[], Any]]] = {}
    if recorder is not None:
        ways["replayed"] = lambda: recorder.record(lambda: recordable(made.network, made.patch))
    if compiled:
        faster: Any = torch.compile(made.network)
        ways["compiled"] = lambda: lambda: faster(made.patch)
    if not ways:
        return
    plain = setting.clock.seconds(lambda: made.network(made.patch))
    wanted = made.network(made.patch)
    for name, prepare in ways.items():
        try:
            work = prepare()
            taken = setting.clock.seconds(work)
            off = apart([work()], [wanted])
        except RuntimeError as error:
            print(f"  {what} cannot be {name} here: {error}")
            continue
        record.add(
            f"{ratio(plain / taken)} x {name:>9}  {what}: {taken * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms; "
            f"at most {off:.1g} of the largest logit apart",
            {"curve": name, "what": what, "seconds": taken, "peer_seconds": plain, "ratio": plain / taken,
             "apart": off},
        )  # fmt: skip
