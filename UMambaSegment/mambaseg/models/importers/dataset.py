"""nnU-Net v2's ``dataset.json``: channels, labels and regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mambaseg.errors import ModelError
from mambaseg.models.spec import Channel, Label, Regions
from mambaseg.models.structures import make_labels

_COLOURS = {"r": "red", "red": "red", "g": "green", "green": "green", "b": "blue", "blue": "blue"}
_MODALITIES = {
    "CT": ("ct", "cbct", "cect"),
    "MR": ("mr", "mri", "t1", "t1w", "t1ce", "t1c", "t1gd", "t2", "t2w", "flair", "pd", "adc", "dwi", "lge", "bssfp"),
    "PT": ("pet", "pt", "suv"),
    "US": ("us", "ultrasound"),
}
_OTHER = "OT"  # DICOM's code for any other modality


@dataclass(frozen=True)
class Heads:
    """What the network's output channels stand for."""

    labels: tuple[Label, ...]
    regions: Regions | None
    num_classes: int


def channels(dataset: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Input channels in their order (``channel_names``, or ``modality`` in older files).

    Raises
    ------
    ModelError
        If there are none.
    """
    names = dataset.get("channel_names") or dataset.get("modality")
    if not isinstance(names, Mapping) or not names:
        raise ModelError(
            "The dataset.json names no input channels ('channel_names'). Get the one that was trained with."
        )
    if not all(str(key).isdecimal() for key in names):
        raise ModelError(
            f"The dataset.json numbers its input channels {', '.join(map(str, names))}, but they must be 0, 1 "
            "and so on. Get the one that was trained with."
        )
    ordered = [str(names[key]) for key in sorted(names, key=int)]
    colour = len(ordered) == 3 and {_COLOURS.get(name.lower()) for name in ordered} == {"red", "green", "blue"}
    if colour:
        return tuple(Channel(_COLOURS[name.lower()], "RGB") for name in ordered)
    return tuple(Channel(name or f"channel {number}", _modality(name)) for number, name in enumerate(ordered))


def _modality(name: str) -> str:
    words = name.lower().replace("-", " ").replace("_", " ").split()
    for modality, known in _MODALITIES.items():
        if any(word in known for word in words):
            return modality
    return _OTHER


def heads(dataset: Mapping[str, Any]) -> Heads:
    """Labels and regions as nnU-Net's ``LabelManager`` has them; the ignore label is no output.

    Raises
    ------
    ModelError
        If the labels have gaps or the regions no order.
    """
    given = dataset.get("labels")
    if not isinstance(given, Mapping) or not given:
        raise ModelError("The dataset.json has no 'labels'. Get the one that was trained with.")
    values: dict[str, tuple[int, ...]] = {}
    for name, value in given.items():
        if name == "ignore":
            continue
        try:
            members = tuple(int(item) for item in value) if isinstance(value, (list, tuple)) else (int(value),)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"The dataset.json gives '{name}' the label {value!r}, but a label is a number or a list of numbers."
            ) from error
        if set(members) != {0}:
            values[str(name)] = members
    if any(len(members) > 1 for members in values.values()):
        return _region_heads(values, dataset.get("regions_class_order"))
    single = {name: members[0] for name, members in sorted(values.items(), key=lambda item: item[1][0])}
    if list(single.values()) != list(range(1, len(single) + 1)):
        raise ModelError(
            f"The labels in dataset.json are {list(single.values())}, but nnU-Net's networks have labels "
            "without gaps from 1 on. "
            "The file is not the one that was trained with."
        )
    return Heads(make_labels(single), None, len(single) + 1)


def _region_heads(values: Mapping[str, tuple[int, ...]], order: Any) -> Heads:
    if not isinstance(order, (list, tuple)) or len(order) != len(values):
        raise ModelError(
            f"The dataset.json has {len(values)} regions, but 'regions_class_order' does not give each of them "
            "a value. "
            "Get the one that was trained with."
        )
    painted = [int(value) for value in order]
    if len(set(painted)) != len(painted):
        raise ModelError(
            f"The dataset.json paints two regions with the same value ({painted}), so they could not be told apart. "
            "Such models are not supported."
        )
    labels = make_labels(dict(zip(values, painted, strict=True)))
    return Heads(labels, Regions(tuple(values.values()), tuple(painted)), len(values))
