"""The marginal loss for cases in which part of the classes was annotated.

Where a class was not annotated, its voxels are labelled 0, which then means "background or one of those classes". So
the probabilities of the background and of those classes are merged before loss and metrics look at them (Shi et al.,
Marginal loss and exclusion loss for partially supervised multi-organ segmentation, arXiv 2007.03868). On logits that is
a log-sum-exp: nnU-Net's own loss follows unchanged, cross-entropy sees the merged probability, and Dice sees neither
prediction nor label of those classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mambaseg_train.labels.description import Description

# Its exponential is zero in float32, and it is no infinity, which times zero would be NaN.
_NEVER = -1e4


def merge_logits(logits: Tensor, missing: Tensor) -> Tensor:
    """Merge the classes that were not annotated into the background.

    Parameters
    ----------
    logits
        ``(batch, classes, *space)``; channel 0 is the background.
    missing
        ``(batch, classes)``, true where the class was not annotated in that sample; never for the background.

    Returns
    -------
    Tensor
        Float32 logits of the same shape, whose softmax has the merged probability in channel 0 and 0 in the missing
        channels. Merging twice is merging once.
    """
    if not bool(missing.any()):
        return logits
    full = logits.float()
    gone = missing.view(*missing.shape, *(1,) * (full.dim() - 2))
    joined = ~gone
    joined[:, 1:] = False
    merged = torch.logsumexp(full.masked_fill(~(gone | joined), -torch.inf), dim=1, keepdim=True)
    return torch.cat((merged, full[:, 1:].masked_fill(gone[:, 1:], _NEVER)), dim=1)


class PartialLabels:
    """Merges a network's outputs while a batch with partly annotated cases is being trained or validated on.

    Attached to a network as a forward hook, it changes nothing unless `begin` told it what is missing.

    Parameters
    ----------
    description
        Labels of the data set.
    """

    def __init__(self, description: Description) -> None:
        self._description = description
        self._heads = max(description.labels.values(), default=0) + 1
        self._missing: Tensor | None = None

    @property
    def needed(self) -> bool:
        """Whether any case has part of the classes annotated."""
        return bool(self._description.annotated)

    def attach(self, network: nn.Module) -> None:
        """Let the outputs of a network pass through here."""
        network.register_forward_hook(lambda _module, _inputs, output: self._merged(output))

    def begin(self, cases: Sequence[str], target: Any) -> None:
        """Say whose samples come next; labels of classes that were not annotated become background, in place.

        Parameters
        ----------
        cases
            Identifier of each sample's case.
        target
            ``(batch, 1, *space)``, or a list of them from fine to coarse.
        """
        if not self.needed:
            return
        missing = torch.zeros(len(cases), self._heads, dtype=torch.bool)
        for sample, case in enumerate(cases):
            missing[sample, list(self._description.missing(str(case)))] = True
        self._missing = missing
        for labels in target if isinstance(target, (list, tuple)) else [target]:
            for sample in missing.any(dim=1).nonzero().flatten().tolist():
                gone = missing[sample].nonzero().flatten().to(labels)
                labels[sample][torch.isin(labels[sample], gone)] = 0

    def end(self) -> None:
        """Leave outputs alone again."""
        self._missing = None

    def _merged(self, output: Any) -> Any:
        if self._missing is None:
            return output
        if isinstance(output, (list, tuple)):
            return [merge_logits(each, self._missing.to(each.device)) for each in output]
        return merge_logits(output, self._missing.to(output.device))
