"""``model.json`` and the catalogue read for showing: what cannot be read is left out, and the fault is told.

The engine checks the same files against their schemas when a model is used. Here nothing may be needed that is not in
a fresh Slicer, and a fault in one model must never hide the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.card import Channel, Figure, ModelCard, State, Structure

SCHEMA_VERSION = 1
_LARGEST = 4 * 1024**2


class Unreadable(Exception):
    """A file cannot be read for showing; the message is a sentence."""


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises
    ------
    Unreadable
        If it cannot be read, is larger than 4 MiB or no JSON object.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise Unreadable(_("'{name}' is far too large to be a description.").format(name=path.name))
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Unreadable(
            _("'{name}' cannot be read ({reason}).").format(name=path.name, reason=error.strerror or error)
        ) from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(_("'{name}' is not valid JSON ({reason}).").format(name=path.name, reason=error)) from error
    if not isinstance(value, dict):
        raise Unreadable(_("'{name}' holds no description.").format(name=path.name))
    return value


def text_of(value: Mapping[str, Any], key: str) -> str:
    """Give a text; empty if it is missing or no text."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _numbers(value: Mapping[str, Any], key: str) -> tuple[float, ...]:
    found = value.get(key)
    numbers = [_number(item) for item in found] if isinstance(found, list) else []
    return tuple(number for number in numbers if number is not None)


def _texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = value.get(key)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def _whole(value: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _numbers(value, key))


def objects(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Give the objects of a list; anything else in it is passed over."""
    found = value.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _object(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _structure(value: Mapping[str, Any]) -> Structure:
    color = _whole(value, "color")
    codes = _object(value, "terminology")
    meanings = [text_of(_object(codes, part), "meaning") for part in ("type", "type_modifier")]
    red, green, blue = (min(max(part, 0), 255) for part in color) if len(color) == 3 else (0, 0, 0)
    return Structure(
        name=text_of(value, "name"),
        value=int(_number(value.get("value")) or 0),
        color=(red, green, blue) if len(color) == 3 else None,
        meaning=", ".join(part for part in meanings if part),
    )


def _figures(value: Mapping[str, Any]) -> tuple[Figure, ...]:
    found = []
    for item in objects(value, "figures"):
        number, cases = _number(item.get("value")), _number(item.get("cases"))
        if number is not None:
            found.append(
                Figure(
                    metric=text_of(item, "metric"),
                    structure=text_of(item, "structure"),
                    value=number,
                    spread=_number(item.get("spread")),
                    control=_number(item.get("control")),
                    cases=None if cases is None else int(cases),
                    unit=text_of(item, "unit"),
                )
            )
    return tuple(found)


def card_of_model(value: Mapping[str, Any], model_id: str, state: State) -> ModelCard:
    """Make a card from the object of ``model.json``; ``model_id`` is the name it is asked for by."""
    network = _object(value, "network")
    return ModelCard(
        id=model_id,
        version=text_of(value, "version"),
        title=text_of(value, "title"),
        text=text_of(value, "text"),
        state=state,
        family=text_of(value, "family"),
        variant=text_of(value, "variant"),
        network=text_of(network, "name"),
        spatial_dims=int(_number(network.get("spatial_dims")) or 0),
        channels=tuple(Channel(text_of(c, "role"), text_of(c, "modality")) for c in objects(value, "channels")),
        structures=tuple(_structure(item) for item in objects(value, "labels") if text_of(item, "name")),
        spacing=_numbers(value, "spacing"),
        patch=_whole(value, "patch_size"),
        folds=tuple(text_of(item, "fold") for item in objects(value, "weights")),
        input_mode=text_of(value, "input_mode") or "tiles",
        trained_on=text_of(value, "trained_on"),
        tested_on=text_of(value, "tested_on"),
        figures=_figures(value),
        licence=text_of(value, "licence"),
        citation=text_of(value, "citation"),
        mirror_axes=_whole(value, "mirror_axes"),
        paired=bool(value.get("paired_labels")),
        keep_largest=_texts(value, "keep_largest"),
    )


def card_of_entry(value: Mapping[str, Any]) -> ModelCard:
    """Make a card from one object of the catalogue."""
    names = value.get("structures")
    structures = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    modality = text_of(value, "modality")
    return ModelCard(
        id=text_of(value, "id"),
        version=text_of(value, "version"),
        title=text_of(value, "title"),
        text=text_of(value, "text"),
        state="to download",
        family=text_of(value, "family"),
        variant=text_of(value, "variant"),
        network=text_of(value, "network"),
        channels=tuple(Channel("", part.strip()) for part in modality.split(",") if part.strip()),
        structures=tuple(Structure(name) for name in structures),
        licence=text_of(value, "licence"),
        licence_url=text_of(value, "licence_url"),
        bytes=int(_number(value.get("bytes")) or 0),
        superseded_by=text_of(value, "superseded_by"),
    )


def fault_of_model(value: Mapping[str, Any], folder: Path) -> str:
    """Say what makes a model unusable, as far as can be seen without reading weights; empty if nothing does."""
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        return (
            _("It was made for a newer version of this extension; update the extension.")
            if newer
            else _("Its description does not say how to read it; get the model again.")
        )
    for key in ("id", "version", "title", "network", "channels", "labels", "weights"):
        if not value.get(key):
            return _("Its description lacks '{key}'; get the model again.").format(key=key)
    for item in objects(value, "weights"):
        name, size = text_of(item, "file"), _number(item.get("bytes"))
        path = folder / name
        if not name or path.parent != folder or not path.is_file():
            return _("Its weights file '{name}' is missing; get the model again.").format(name=name)
        if path.stat().st_size != size:
            return _("Its weights file '{name}' is not of the size it should be; get the model again.").format(
                name=name
            )
    absent = next((name for name in ("card.md", "LICENSE") if not (folder / name).is_file()), "")
    return _("Its file '{name}' is missing; get the model again.").format(name=absent) if absent else ""
