"""``ModelSpec`` to the JSON object of ``model.json`` and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mambaseg.errors import ModelError
from mambaseg.models.checks import check_spec
from mambaseg.models.jsonfile import check_schema, check_version
from mambaseg.models.spec import (
    SCHEMA_VERSION,
    Channel,
    Code,
    Figure,
    Label,
    ModelSpec,
    NetworkSpec,
    Normalisation,
    Regions,
    Resampling,
    Resize,
    Terminology,
    WeightsFile,
)


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as plain JSON values; fields that are None are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """``spec`` as the JSON object of ``model.json`` (schema version first).

    Raises
    ------
    ModelError
        If the spec contradicts itself (see `mambaseg.models.checks.check_spec`).
    """
    check_spec(spec)
    plain: dict[str, Any] = _plain(spec)
    value = {"schema_version": plain.pop("schema_version"), **plain}
    check_schema(value, "model", "The model's description")
    return value


def spec_from_json(value: Mapping[str, Any], what: str = "model.json") -> ModelSpec:
    """Read the JSON object of ``model.json``.

    Parameters
    ----------
    value
        The parsed object.
    what
        How the sentences name the file.

    Raises
    ------
    ModelError
        If it is of another schema version, a key is missing, wrong or unknown, or the values contradict each other.
    """
    check_version(value, SCHEMA_VERSION, what)
    check_schema(value, "model", what)
    read = dict(value)
    network = read.pop("network")
    regions = read.pop("regions", None)
    spec = ModelSpec(
        network=NetworkSpec(**network),
        patch_size=tuple(read.pop("patch_size")),
        spacing=tuple(float(item) for item in read.pop("spacing")),
        axes=tuple(read.pop("axes", (0, 1, 2))),
        channels=tuple(Channel(**item) for item in read.pop("channels")),
        normalisation=tuple(Normalisation(**item) for item in read.pop("normalisation")),
        labels=tuple(label_from_json(item) for item in read.pop("labels")),
        resampling=Resampling(**read.pop("resampling", {})),
        resize=Resize(**read.pop("resize", {})),
        mirror_axes=tuple(read.pop("mirror_axes", ())),
        regions=_regions(regions) if regions is not None else None,
        paired_labels=tuple((first, second) for first, second in read.pop("paired_labels", ())),
        keep_largest=tuple(read.pop("keep_largest", ())),
        figures=tuple(Figure(**item) for item in read.pop("figures", ())),
        weights=tuple(WeightsFile(**item) for item in read.pop("weights")),
        **read,
    )
    try:
        check_spec(spec)
    except ModelError as error:
        raise ModelError(f"{what}: {error}") from error
    return spec


def _regions(value: Mapping[str, Any]) -> Regions:
    return Regions(tuple(tuple(item) for item in value["members"]), tuple(value["class_order"]))


def label_to_json(label: Label) -> dict[str, Any]:
    """One label as ``model.json`` has it."""
    plain: dict[str, Any] = _plain(label)
    return plain


def label_from_json(value: Mapping[str, Any]) -> Label:
    """Read one label as ``model.json`` has it."""
    red, green, blue = value["color"]
    codes = value.get("terminology")
    terminology = Terminology(**{key: Code(**item) for key, item in codes.items()}) if codes else None
    return Label(value["name"], value["value"], (red, green, blue), terminology)
