"""Steps without finite numbers: skipped, counted, and too many in a row end the training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mambaseg_train.errors import RunError


class StepGuard:
    """Counts the steps that were skipped.

    Parameters
    ----------
    limit
        Steps in a row that may be skipped; the next one raises.

    Attributes
    ----------
    skipped
        Steps skipped in the whole training.
    in_row
        Steps skipped since the last good one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.skipped = 0
        self.in_row = 0

    def good(self) -> None:
        """Note a step that was taken."""
        self.in_row = 0

    def bad(self, what: str) -> None:
        """Note a step that was skipped.

        Parameters
        ----------
        what
            What was not finite: ``loss`` or ``gradient``.

        Raises
        ------
        RunError
            If it was one too many in a row.
        """
        self.skipped += 1
        self.in_row += 1
        if self.in_row > self.limit:
            raise RunError(
                f"The {what} was not a finite number in {self.in_row} steps in a row, so training stopped; the last "
                "checkpoint with finite weights is kept. Lower the learning rate (MAMBASEG_LR), switch mixed precision "
                "off (MAMBASEG_AMP=0; on a CPU MAMBASEG_BFLOAT16=0), or look for NaN in the images with "
                "`mambaseg-train check`."
            )


def all_agree(good: bool, device: torch.device) -> bool:
    """Whether every process of a multi-GPU run says so; each must skip a step that one of them skips."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return good
    vote = torch.tensor(int(good), device=device)
    torch.distributed.all_reduce(vote, op=torch.distributed.ReduceOp.MIN)
    return bool(vote.item())


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of all tensors are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def check_weights(network: nn.Module) -> None:
    """Refuse weights that would give nonsense.

    Raises
    ------
    RunError
        If one is not finite.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RunError(
                f"The weights '{name}' are no longer finite numbers, so they were not saved; the checkpoint before "
                "them is kept. Lower the learning rate (MAMBASEG_LR) and continue from it."
            )
