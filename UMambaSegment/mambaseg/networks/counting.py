"""What a network costs: its parameters, and its multiply-accumulates with the scan counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mambaseg.layers import SelectiveScan


@dataclass(frozen=True)
class OperationCount:
    """Multiply-accumulates of one forward pass, by kind.

    Attributes
    ----------
    convolution
        Convolutions, depth-wise ones included.
    linear
        Linear layers and the other matrix products.
    scan
        Selective scans.
    """

    convolution: int
    linear: int
    scan: int

    @property
    def total(self) -> int:
        """All kinds together."""
        return self.convolution + self.linear + self.scan


def count_parameters(network: nn.Module) -> int:
    """Count a network's parameters; a tensor with several names counts once."""
    return sum(parameter.numel() for parameter in network.parameters())


def scan_operations(u: Sequence[int], state: int, *, skip: bool, gate: bool) -> int:
    """Count the multiply-accumulates of one selective scan.

    For each token of each channel: ``dt * A`` takes N (the size of the state), ``dt * u`` 1, ``(dt * u) * B`` N,
    the recurrence ``exp(dt * A) * h + ...`` N and ``<C, h>`` N; ``D * u`` and the gate take 1 each where they are.
    Together ``batch * channels * length * (4 N + 1 + [D] + [z])``. Exponentials, softplus and the gate's SiLU are not
    counted, as activations never are.

    Parameters
    ----------
    u
        Shape ``(batch, channels, length)``.
    state
        N.
    skip, gate
        Whether there are D and z.
    """
    return math.prod(u) * (4 * state + 1 + int(skip) + int(gate))


def count_operations(network: nn.Module, input_shape: Sequence[int]) -> OperationCount:
    """Count the multiply-accumulates of one forward pass in evaluation mode.

    Only shapes are computed (on a twin of the network on torch's meta device), so neither memory nor time depends on
    the input's size, and ``network`` is not touched. Biases, normalisation, activations, pooling, interpolation and
    sums are not counted. Where this engine does less work than the published code for the same numbers (1x1
    convolutions before up-sampling instead of after), it is the engine's work that is counted.

    Parameters
    ----------
    network
        A network of ``mambaseg.networks``, or any module of its layers.
    input_shape
        ``(batch, channels, *space)``.
    """
    twin = shapes_only(network)
    scans: list[int] = []

    def record(_module: nn.Module, inputs: tuple[Tensor, ...], kwargs: dict[str, Any], _output: Tensor) -> None:
        u, _, A, _, _ = inputs
        skip, gate = kwargs.get("D") is not None, kwargs.get("z") is not None
        scans.append(scan_operations(u.shape, A.shape[1], skip=skip, gate=gate))

    for module in twin.modules():
        if isinstance(module, SelectiveScan):
            module.register_forward_hook(record, with_kwargs=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(torch.empty(tuple(input_shape), device="meta"))
    convolution = linear = 0
    for operation, flops in counter.get_flop_counts().get("Global", {}).items():
        if "convolution" in str(operation):
            convolution += int(flops) // 2
        else:
            linear += int(flops) // 2
    return OperationCount(convolution=convolution, linear=linear, scan=sum(scans))


def shapes_only(network: nn.Module) -> nn.Module:
    """Copy a network to the meta device without copying a value; tensors with several names keep them."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, memo).eval()
