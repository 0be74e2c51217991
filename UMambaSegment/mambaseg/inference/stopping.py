"""Stopping within a tile: on a slow computer one pass of a large network takes far longer than anybody waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def asked_between_layers(network: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before each layer that runs inside the ``with`` block; what it raises ends the pass.

    Parameters
    ----------
    network
        Its modules' forward passes are hooked, and left as they were afterwards.
    check
        Raises if the run should stop, such as `Reporter.check`.
    """

    def before(_module: nn.Module, _inputs: Any) -> None:
        check()

    with contextlib.ExitStack() as hooks:
        for module in network.modules():
            hooks.callback(module.register_forward_pre_hook(before).remove)
        yield
