"""Graphics cards that torch names, and whether this torch holds code that runs on them.

PyTorch's builds for newer CUDA leave out older cards (GTX 10, V100), and older builds know nothing of newer ones
(RTX 50). Torch lists such a card as it lists any other, and whatever is then computed on it fails ("no kernel image is
available").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import torch

_BOARDS = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)}  # built into boards (Jetson): they and others run no code in common
_RENAMED = {(10, 1): (11, 0)}  # Thor, from CUDA 13 on
_OLDEST, _LEFT_OUT = (5, 0), (7, 5)  # what builds for CUDA 12.6 begin with, and those for newer ones
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
_WHERE = "See https://pytorch.org/get-started/locally/, or in 3D Slicer the module 'PyTorch Utils'."


class Cards(Protocol):
    """Tells what torch knows of the cards."""

    def count(self) -> int:
        """How many there are."""
        ...

    def name(self, index: int) -> str:
        """Name of a card as a person knows it."""
        ...

    def capability(self, index: int) -> tuple[int, int]:
        """Its compute capability, major and minor."""
        ...

    def architectures(self) -> Sequence[str]:
        """What torch was compiled for, as ``sm_86``, ``compute_90`` or (ROCm) ``gfx1030``."""
        ...


class TorchCards:
    """The real ones."""

    def count(self) -> int:
        """How many there are: none without a driver."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def name(self, index: int) -> str:
        """Name of a card as a person knows it."""
        return torch.cuda.get_device_name(index)

    def capability(self, index: int) -> tuple[int, int]:
        """Its compute capability, major and minor."""
        return torch.cuda.get_device_capability(index)

    def architectures(self) -> Sequence[str]:
        """What torch was compiled for."""
        return torch.cuda.get_arch_list()


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code for an architecture runs on a card of this compute capability.

    Compiled code (``sm_86``) runs on cards of the same major and no lower minor number, that with an ``a`` and that for
    boards on that very capability; intermediate code (``compute_90``) is compiled on the spot for all from there on.
    (CUDA C++ Programming Guide, "Application Compatibility".) What is written in another way, as ROCm's is, is not
    judged.
    """
    read = _ARCHITECTURE.fullmatch(architecture)
    if read is None:
        return True
    kind, made_for, alone = read[1], (int(read[2]), int(read[3])), read[4] == "a"
    if alone or (kind == "sm" and not _BOARDS.isdisjoint((made_for, capability))):
        return capability in (made_for, _RENAMED.get(made_for))
    if kind == "compute" and not read[4]:
        return capability >= made_for
    return capability[0] == made_for[0] and capability >= made_for


CARDS = TorchCards()


def _wanted(capability: tuple[int, int], built: Sequence[tuple[int, int]]) -> str:
    """What to do for a card that none of these builds is for."""
    if capability < _OLDEST:
        return "It is too old for any current build."
    if capability > max(built):
        return f"Install a newer PyTorch. {_WHERE}"
    if capability < min(_LEFT_OUT, *built):
        return f"Install a build of PyTorch for an older CUDA (12.6). {_WHERE}"
    return f"Install a build of PyTorch that has it. {_WHERE}"


def refused_cards(cards: Cards = CARDS) -> dict[str, str]:
    """Cards for which this torch holds no code: their names for torch, and a sentence for each.

    Parameters
    ----------
    cards
        What torch tells of them.
    """
    known = tuple(cards.architectures())
    refused = {}
    for index in range(cards.count()):
        capability = cards.capability(index)
        if not known or any(runs_on(architecture, capability) for architecture in known):
            continue
        built = [(int(found[2]), int(found[3])) for name in known if (found := _ARCHITECTURE.fullmatch(name))]
        refused[f"cuda:{index}"] = (
            f"The card {cards.name(index)} (cuda:{index}, compute capability {capability[0]}.{capability[1]}) is not "
            f"used, because PyTorch {torch.__version__} holds no code for it ({', '.join(known)}). "
            f"{_wanted(capability, built)}"
        )
    return refused
