"""How a network is trained: the paper's settings, and what a person overrides for a run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from mambaseg_train.errors import RunError

PREFIX = "MAMBASEG_"
PLANS_KEY = "mambaseg"
TRAINING_KEY = "training"


@dataclass(frozen=True)
class Settings:
    """One way to train.

    Attributes
    ----------
    optimizer
        ``sgd`` (Nesterov where ``nesterov``), ``adam`` or ``adamw``.
    lr, weight_decay, momentum, eps
        The optimiser's numbers; ``momentum`` is SGD's, ``eps`` Adam's.
    schedule
        ``poly`` (exponent .9 to the end) or ``cosine`` (down to ``lr_end`` and up again every ``cosine_epochs``).
    restart
        Epochs after which ``poly`` has come to its end, and begins again at half the rate with an optimiser as new;
        0: once only.
    epochs, iterations, validation_iterations
        Epochs, training steps an epoch, validation steps an epoch.
    amp
        Mixed precision on CUDA. Scans are float32 either way.
    bfloat16
        Mixed precision by bfloat16 on a CPU; pays on processors that multiply in it. Scans and loss are float32.
    deep_supervision
        Loss at several resolutions, for networks that have them.
    dice_weight, ce_weight
        Shares of Dice and cross-entropy in the loss.
    clip
        Largest norm of the gradient.
    mirror
        Axes along which samples are mirrored: ``all`` (nnU-Net's), ``left_right`` (that one alone, for patients who all
        lie alike) or ``none``.
    seed
        Of weights, samples and augmentation.
    batch
        Samples a step, or 0 for the plans' batch.
    bad_steps
        Steps in a row without finite numbers after which training stops.
    deterministic
        Ask cuDNN for algorithms that repeat exactly.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 1e-2
    weight_decay: float = 3e-5
    momentum: float = 0.99
    nesterov: bool = True
    eps: float = 1e-8
    schedule: Literal["poly", "cosine"] = "poly"
    lr_end: float = 0.0
    cosine_epochs: int = 50
    restart: int = 0
    epochs: int = 1000
    iterations: int = 250
    validation_iterations: int = 50
    amp: bool = True
    bfloat16: bool = False
    deep_supervision: bool = True
    dice_weight: float = 1.0
    ce_weight: float = 1.0
    clip: float = 12.0
    mirror: Literal["all", "left_right", "none"] = "all"
    seed: int = 12345
    batch: int = 0
    bad_steps: int = 20
    deterministic: bool = False


_TYPES: Mapping[str, type[Any]] = {item.name: type(getattr(Settings, item.name)) for item in fields(Settings)}
_CHOICES = {
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("poly", "cosine"),
    "mirror": ("all", "left_right", "none"),
}
_AT_LEAST_ONE = ("epochs", "iterations", "validation_iterations", "bad_steps", "cosine_epochs")


def override(settings: Settings, plans: Mapping[str, Any]) -> Settings:
    """Take what a person asks for: first the plans' ``mambaseg.training``, then ``MAMBASEG_<NAME>`` in the environment.

    Raises
    ------
    RunError
        If a setting is not known or its value makes no sense.
    """
    own = plans.get(PLANS_KEY) or {}
    asked = own.get(TRAINING_KEY) or {} if isinstance(own, Mapping) else {}
    changes: dict[str, Any] = {}
    for name, value in asked.items():
        if name not in _TYPES:
            raise RunError(f"The plans' training setting '{name}' is not known. Known: {', '.join(_TYPES)}.")
        changes[name] = _read(name, value, f"The plans' training setting '{name}'")
    for name in _TYPES:
        text = os.environ.get(PREFIX + name.upper())
        if text is not None:
            changes[name] = _read(name, text, f"The environment variable {PREFIX}{name.upper()}")
    return replace(settings, **changes)


def to_environment(changes: Mapping[str, Any]) -> dict[str, str]:
    """Overrides as environment variables; what is None is left out.

    Raises
    ------
    RunError
        If a setting is not known or its value makes no sense.
    """
    found = {}
    for name, value in changes.items():
        if value is None:
            continue
        if name not in _TYPES:
            raise RunError(f"There is no training setting '{name}'. Known: {', '.join(_TYPES)}.")
        found[PREFIX + name.upper()] = str(_read(name, value, f"The training setting '{name}'"))
    return found


def _read(name: str, value: Any, what: str) -> Any:
    kind = _TYPES[name]
    wrong = RunError(f"{what} must be {_wording(name, kind)}, not {value!r}.")
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise wrong
        return value
    if kind is bool:
        words = {"1": True, "true": True, "0": False, "false": False}
        if str(value).lower() not in words:
            raise wrong
        return words[str(value).lower()]
    try:
        number = kind(value)
    except (TypeError, ValueError) as error:
        raise wrong from error
    least = 1 if name in _AT_LEAST_ONE else 0
    if isinstance(value, bool) or not math.isfinite(number) or number < least or number != float(value):
        raise wrong
    return number


def _wording(name: str, kind: type) -> str:
    if name in _CHOICES:
        return f"one of {', '.join(_CHOICES[name])}"
    if kind is bool:
        return "true or false"
    least = 1 if name in _AT_LEAST_ONE else 0
    return f"a {'whole ' if kind is int else ''}number of at least {least}"
