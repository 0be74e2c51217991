"""LightM-UNet's blocks in their lean form: norm and activation at once, the scaled skip added in place."""

from __future__ import annotations

from torch import Tensor

from mambaseg.lean.norm import normalise
from mambaseg.networks.lightm_unet import DownBlock, UpBlock


class LeanDownBlock(DownBlock):
    """Twice normalise, activate and mix, beside an identity."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y = self.conv1(normalise(x, self.norm1, slope=0.0))
        y = self.conv2(normalise(y, self.norm2, slope=0.0, in_place=True))
        return y.add_(x)  # type: ignore[no-any-return]


class LeanUpBlock(UpBlock):
    """Normalise, activate, convolve depth-wise, add the scaled input, normalise and activate again."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y = self.conv(normalise(x, self.norm1, slope=0.0)).to(x.dtype)
        y.addcmul_(self.skip_scale, x)
        return normalise(y, self.norm2, slope=0.0, in_place=True)
