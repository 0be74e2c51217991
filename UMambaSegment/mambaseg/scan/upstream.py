"""Adapter for the published CUDA kernel (package ``mamba-ssm``), where the person has it.

Its current package no longer contains the Mamba-1 scan (state-spaces/mamba pull request 977) and then raises when it is
called, which the self-check finds and reports.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem


class UpstreamScan(Protocol):
    """Signature of ``mamba_ssm.ops.selective_scan_interface.selective_scan_fn``."""

    def __call__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:
        """Run the kernel."""
        ...


def load_upstream() -> UpstreamScan:
    """Import the published kernel's function.

    Raises
    ------
    ImportError
        If the package, or one that it needs, is not there.
    """
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    function: UpstreamScan = module.selective_scan_fn
    return function


class UpstreamBackend:
    """The ``mamba_ssm`` backend around a function of the published signature."""

    def __init__(self, function: UpstreamScan) -> None:
        self._function = function

    def __call__(self, problem: ScanProblem) -> tuple[Tensor, Tensor]:
        """Run the published kernel; it brings its own backward pass.

        Raises
        ------
        ValueError
            If the tensors are float64 or there is a start state, which the kernel does not know.
        """
        if problem.start is not None:
            raise ValueError("The mamba_ssm scan begins at a state of zero and takes no other. Use 'torch'.")
        if problem.u.dtype != torch.float32:
            raise ValueError(f"The mamba_ssm scan computes in float32, but its input is {problem.u.dtype}.")
        y, last = self._function(
            problem.u.contiguous(),
            problem.delta.contiguous(),
            problem.A.contiguous(),
            problem.B.contiguous(),
            problem.C.contiguous(),
            D=problem.D,
            z=None if problem.z is None else problem.z.contiguous(),
            delta_bias=problem.delta_bias,
            delta_softplus=problem.delta_softplus,
            return_last_state=True,
        )
        return y, last
