"""What every network says of itself, and the inputs it refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mambaseg.errors import InputError

if TYPE_CHECKING:
    from mambaseg.networks.counting import OperationCount


def format_size(size: tuple[int, ...]) -> str:
    """Write a size as people do: ``8 x 32 x 24``."""
    return " x ".join(str(length) for length in size)


class SegmentationNetwork(nn.Module):
    """Base of the networks: ``(batch, in_channels, *space)`` in, logits ``(batch, num_classes, *space)`` out.

    Attributes
    ----------
    spatial_dims, in_channels, num_classes
        As given to ``build``.
    divisor
        Per axis, what the input's size must be divisible by.
    patch_size
        The only size the network takes, or None where any divisible one will do.
    deep_supervision
        Whether the answer is a list of logits from fine to coarse (as long as the network has such heads, else of
        length one) instead of the finest logits alone. May be switched at any time.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        divisor: tuple[int, ...],
        patch_size: tuple[int, ...] | None = None,
        smallest_map: int = 1,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.divisor = divisor
        self.patch_size = patch_size
        self._smallest_map = smallest_map
        self._deep_supervision = deep_supervision

    @property
    def deep_supervision(self) -> bool:
        """Whether the answer is a list of logits from fine to coarse."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        self._deep_supervision = enabled

    @property
    def accepted_channels(self) -> tuple[int, ...]:
        """Numbers of input channels that the network takes."""
        return (self.in_channels,)

    def count_parameters(self) -> int:
        """Count the parameters; a tensor with several names counts once."""
        from mambaseg.networks.counting import count_parameters

        return count_parameters(self)

    def count_operations(self, input_shape: Sequence[int]) -> OperationCount:
        """Count the multiply-accumulates for an input ``(batch, channels, *space)``, the scan included."""
        from mambaseg.networks.counting import count_operations

        return count_operations(self, input_shape)

    def check_input(self, x: Tensor) -> None:
        """Refuse an input that the network cannot take.

        Raises
        ------
        InputError
            For a wrong number of axes or channels, another size than ``patch_size`` where the network is tied to
            one, or a size that is not divisible by ``divisor`` or too small.
        """
        if x.dim() != self.spatial_dims + 2:
            raise InputError(
                f"The network works in {self.spatial_dims} dimensions, so its input has {self.spatial_dims + 2} axes "
                f"(batch, channels, space), but this one has {x.dim()}."
            )
        if x.shape[1] not in self.accepted_channels:
            wanted = " or ".join(str(count) for count in self.accepted_channels)
            raise InputError(f"The network takes {wanted} input channels, but the input has {x.shape[1]}.")
        size = tuple(x.shape[2:])
        if self.patch_size is not None and size != self.patch_size:
            raise InputError(
                f"The input's size is {format_size(size)}, but this network was built for patches of "
                f"{format_size(self.patch_size)} and works on no other: the width of its Mamba layers depends on it. "
                "Cut or pad the input to that size."
            )
        if any(length == 0 or length % step for length, step in zip(size, self.divisor, strict=True)):
            raise InputError(
                f"The input's size is {format_size(size)}, but the network halves it several times and needs sizes "
                f"divisible by {format_size(self.divisor)}. Pad the input to such a size."
            )
        coarsest = math.prod(length // step for length, step in zip(size, self.divisor, strict=True))
        if coarsest < self._smallest_map:
            raise InputError(
                f"The input's size is {format_size(size)}, which leaves a single voxel at the network's coarsest "
                "resolution, where instance normalisation has nothing to average. Pad the input to a larger size."
            )

    def _answer(self, logits: Tensor) -> Tensor | list[Tensor]:
        """Give logits as a network with one head does."""
        return [logits] if self.deep_supervision else logits
