"""The one place from which layers call the selective scan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambaseg import scan


class SelectiveScan(nn.Module):
    """The selective scan as a module without parameters: its backend is chosen, and its work counted, per network.

    Attributes
    ----------
    scan_backend
        ``auto`` or a name from ``mambaseg.scan.available_backends()``.
    """

    def __init__(self, scan_backend: str = "auto") -> None:
        super().__init__()
        self.scan_backend = scan_backend

    def forward(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        *,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
    ) -> Tensor:
        """Scan with softplus on the step; shapes as in ``mambaseg.scan.selective_scan``.

        On the meta device, where tensors have shapes and no values, nothing is scanned: the answer has ``u``'s shape.
        """
        if u.is_meta:
            return torch.empty_like(u)
        y = scan.selective_scan(
            u, delta, A, B, C, D=D, z=z, delta_bias=delta_bias, delta_softplus=True, backend=self.scan_backend
        )
        return y if isinstance(y, Tensor) else y[0]

    def extra_repr(self) -> str:
        """Show the backend when a network is printed."""
        return f"scan_backend={self.scan_backend!r}"
