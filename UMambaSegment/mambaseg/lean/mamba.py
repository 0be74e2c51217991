"""The layers that scan an image's voxels, in their lean form: chunk after chunk, from and to channels-last memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mambaseg.layers.precision import autocast_off
from mambaseg.layers.scanning import SelectiveScan
from mambaseg.layers.tokens import MambaLayer, ResidualMambaLayer
from mambaseg.lean.norm import as_image, as_voxels
from mambaseg.lean.stream import Streamed, chunks, fits
from mambaseg.scan.registry import available_backends, note_use

# (Mamba block of this pass, the chunk's tokens (batch, tokens, channels) in float32) -> the chunk's results
ChunkStep = Callable[[Streamed, Tensor], Tensor]


def scans_here(scan: SelectiveScan, x: Tensor) -> bool:
    """Whether a scan is one that the lean form may do: on the CPU, by the numba backend."""
    if x.is_meta:
        return True
    if x.device.type != "cpu" or x.dtype is torch.float64:
        return False
    return scan.scan_backend == "numba" or (
        scan.scan_backend == "auto" and next(iter(available_backends("cpu")), "") == "numba"
    )


def _stream(
    layer: MambaLayer | ResidualMambaLayer, x: Tensor, channels: int, kind: torch.dtype, step: ChunkStep
) -> Tensor:
    """Run ``step`` over the tokens of ``(batch, channels, *space)`` and give an image of ``channels`` in ``kind``."""
    tokens = as_voxels(x)
    batch, length, _ = tokens.shape
    streamed = Streamed(layer.mamba, batch)
    out = tokens.new_empty(batch, length, channels, dtype=kind)
    for span in chunks(length, layer.mamba.A_log.shape[0]):
        out[:, span] = step(streamed, tokens[:, span].float())
        if x.is_meta:
            break  # shapes only, and the other chunks have the same
    else:
        note_use("numba")
    return as_image(out, x.shape[2:])


class LeanMambaLayer(MambaLayer):
    """U-Mamba's layer, streamed where voxels are the tokens.

    Under autocast the answer is rounded at once, as convolutions alone take it and would round it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        if self.channel_token or not fits(self.mamba) or not scans_here(self.mamba.scan, x):
            return super().forward(x)
        with autocast_off(x):
            return _stream(self, x, x.shape[1], x.dtype, lambda streamed, tokens: streamed(self.norm(tokens)))


class LeanResidualMambaLayer(ResidualMambaLayer):
    """LightM-UNet's layer, streamed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, input_dim, *space)`` to ``(batch, output_dim, *space)``."""
        if not fits(self.mamba) or not scans_here(self.mamba.scan, x):
            return super().forward(x)

        def step(streamed: Streamed, tokens: Tensor) -> Tensor:
            mixed = streamed(self.norm(tokens))
            mixed.addcmul_(self.skip_scale, tokens)
            return functional.linear(self.norm(mixed), self.proj.weight, self.proj.bias)

        with autocast_off(x):
            return _stream(self, x, self.proj.out_features, torch.float32, step)
