"""Scaling intensities as each model was trained: nnU-Net's schemes, and those of the resized-slice networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError, ModelError
from mambaseg.models.spec import Normalisation

_TINY = 1e-8
FloatArray = NDArray[np.float32]


def _number(value: float | None, name: str, rule: Normalisation) -> float:
    if value is None:
        raise ModelError(f"The model's '{rule.scheme}' normalisation has no '{name}'. Its model.json must state it.")
    return value


def _ct(image: FloatArray, rule: Normalisation) -> FloatArray:
    np.clip(image, _number(rule.lower, "lower", rule), _number(rule.upper, "upper", rule), out=image)
    image -= _number(rule.mean, "mean", rule)
    image /= max(_number(rule.std, "std", rule), _TINY)
    return image


def _zscore(image: FloatArray, rule: Normalisation, mask: NDArray[np.bool_] | None) -> FloatArray:
    if rule.use_mask and mask is not None:
        inside = image[mask]
        image[mask] = (inside - inside.mean()) / max(inside.std(), _TINY)
        return image
    mean, std = image.mean(), image.std()
    image -= mean
    image /= max(std, _TINY)
    return image


def _rescale(image: FloatArray) -> FloatArray:
    image -= image.min()
    image /= max(image.max(), _TINY)
    return image


def _rgb(image: FloatArray) -> FloatArray:
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255:
        raise InputError(
            f"The model expects colours from 0 to 255, but the image has values from {low:g} to {high:g}. "
            "Give it an 8-bit colour image."
        )
    image /= 255.0
    return image


def _window(image: FloatArray, rule: Normalisation) -> FloatArray:
    low, high = _number(rule.lower, "lower", rule), _number(rule.upper, "upper", rule)
    np.clip(image, low, high, out=image)
    image -= low
    image /= max(high - low, _TINY)
    return image


def normalise(data: FloatArray, rules: Sequence[Normalisation], mask: NDArray[np.bool_] | None = None) -> FloatArray:
    """Scale ``(channels, z, y, x)`` in place, each channel by its rule, and return it.

    Parameters
    ----------
    data
        float32; changed.
    rules
        One a channel.
    mask
        ``(z, y, x)``: where the image is not zero (holes filled), for rules that say ``use_mask``.

    Raises
    ------
    ModelError
        If a rule lacks a number that it needs.
    InputError
        If a colour image is outside 0 to 255.
    """
    if any(rule.scheme == "min_max" for rule in rules):
        data -= data.min()
        data *= _number(rules[0].upper, "upper", rules[0]) / max(float(data.max()), _TINY)
        return data
    for channel, rule in zip(data, rules, strict=True):
        if rule.scheme == "ct":
            _ct(channel, rule)
        elif rule.scheme == "zscore":
            _zscore(channel, rule, mask)
        elif rule.scheme == "rescale_0_1":
            _rescale(channel)
        elif rule.scheme == "rgb_0_1":
            _rgb(channel)
        elif rule.scheme == "window_0_1":
            _window(channel, rule)
    return data
