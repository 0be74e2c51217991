"""What made a segmentation: written to the node's attributes, read again for **Reproduce**."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from mambaseg.options import Options, Region
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _

ATTRIBUTE = "UMambaSegment.Provenance"
SOURCE_ROLE = "UMambaSegment.SourceVolume"
REGION_ROLE = "UMambaSegment.Region"
_READABLE = {
    "model_id": "UMambaSegment.Model",
    "model_version": "UMambaSegment.ModelVersion",
    "engine_version": "UMambaSegment.EngineVersion",
    "torch_version": "UMambaSegment.TorchVersion",
    "device": "UMambaSegment.Device",
    "time": "UMambaSegment.Time",
}


@dataclass(frozen=True)
class Provenance:
    """What ran, on what, with which choices.

    Attributes
    ----------
    model_id, model_version
        Of the model package.
    model_ref
        What the model was asked for by (an id or a path).
    weights_sha256
        Fold to SHA-256 of its weights.
    engine_version, torch_version, device
        As the run's report says.
    options
        Fields of `Options` as JSON values.
    volume_names
        One per input channel, as they were called then.
    time
        ISO 8601, UTC.
    volume_ids
        Node IDs of the input volumes that are in the scene now, in the channels' order; None for one that is gone.
    region_id
        Node ID of the ROI, if one was used and is still in the scene.
    """

    model_id: str
    model_version: str = ""
    model_ref: str = ""
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    engine_version: str = ""
    torch_version: str = ""
    device: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    volume_names: tuple[str, ...] = ()
    time: str = ""
    volume_ids: tuple[str | None, ...] = ()
    region_id: str | None = None

    @staticmethod
    def of_report(
        report: Mapping[str, Any], *, model_ref: str = "", options: Options | None = None, time: str | None = None
    ) -> Provenance:
        """Take from a `Result.report` what matters; ``options`` are those that were asked for, if not the report's.

        What was left to the model stands as it was decided: another version of the model may decide otherwise.
        """
        model = report.get("model", {})
        versions = report.get("versions", {})
        device = report.get("device", {})
        return Provenance(
            model_id=str(model.get("id", "")),
            model_version=str(model.get("version", "")),
            model_ref=model_ref or str(model.get("id", "")),
            weights_sha256=dict(model.get("weights_sha256", {})),
            engine_version=str(versions.get("mambaseg", "")),
            torch_version=str(versions.get("torch", "")),
            device=str(device.get("title") or device.get("name") or ""),
            options=_decided(_as_json(options) if options is not None else dict(report.get("options", {})), report),
            volume_names=tuple(str(name) for name in report.get("input", {}).get("sources", ())),
            time=time or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def as_mapping(self) -> dict[str, Any]:
        """Give JSON values, without the node IDs (those are node references, which a scene keeps right)."""
        values = asdict(self)
        del values["volume_ids"], values["region_id"]
        values["volume_names"] = list(self.volume_names)
        return values

    def run_options(self) -> Options:
        """Give the choices of that run; fields that this version does not know are left out.

        Raises
        ------
        OptionError
            If a value is not one that this version takes.
        """
        known = {entry.name for entry in fields(Options)}
        return Options(**{name: value for name, value in self.options.items() if name in known})

    @property
    def region(self) -> Region | None:
        """Voxel ranges that the run was kept to, as they were then."""
        return self.run_options().roi


def _decided(options: dict[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("keep_largest") is None and "kept_largest" in report:
        options["keep_largest"] = list(report["kept_largest"])
    return options


def _as_json(options: Options) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return values


def write_provenance(
    node: Any, provenance: Mapping[str, Any], volume_nodes: Sequence[Any] = (), roi_node: Any | None = None
) -> None:
    """Write what made a result to a node's attributes, and refer to its inputs so that a saved scene keeps them.

    Parameters
    ----------
    node
        Any node.
    provenance
        JSON values; `Provenance.as_mapping` gives what **Reproduce** needs.
    volume_nodes
        Input volumes, one per channel.
    roi_node
        The ROI, if one was used.
    """
    write_attributes(node, provenance, [volume.GetName() for volume in volume_nodes])
    node.RemoveNodeReferenceIDs(SOURCE_ROLE)
    for volume in volume_nodes:
        node.AddNodeReferenceID(SOURCE_ROLE, volume.GetID())
    node.RemoveNodeReferenceIDs(REGION_ROLE)
    if roi_node is not None:
        node.AddNodeReferenceID(REGION_ROLE, roi_node.GetID())


def write_attributes(node: Any, provenance: Mapping[str, Any], volume_names: Sequence[str]) -> None:
    """Write the attributes alone, as for a frame inside a sequence, where references lead nowhere."""
    node.SetAttribute(ATTRIBUTE, json.dumps(dict(provenance), sort_keys=True))
    for name, attribute in _READABLE.items():
        _set_or_remove(node, attribute, str(provenance.get(name, "")))
    weights = provenance.get("weights_sha256", {})
    _set_or_remove(node, "UMambaSegment.WeightsSHA256", " ".join(f"{fold}={weights[fold]}" for fold in sorted(weights)))
    _set_or_remove(node, "UMambaSegment.SourceVolumeName", ", ".join(volume_names))


def read_provenance(node: Any) -> Provenance | None:
    """Read what made a node; None if it was not made here.

    Raises
    ------
    SceneError
        If the node's attribute is damaged.
    """
    text = node.GetAttribute(ATTRIBUTE)
    if not text:
        return None
    try:
        values = json.loads(text)
        known = {entry.name for entry in fields(Provenance)} - {"volume_ids", "region_id"}
        kept = {name: value for name, value in values.items() if name in known}
        kept["volume_names"] = tuple(kept.get("volume_names", ()))
        volumes = tuple(_present_id(node, SOURCE_ROLE, n) for n in range(node.GetNumberOfNodeReferences(SOURCE_ROLE)))
        return Provenance(**kept, volume_ids=volumes, region_id=_present_id(node, REGION_ROLE, 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise SceneError(
            _(
                "What is noted on '{node}' about how it was made cannot be read ({reason}), so it cannot be "
                "reproduced from that. Choose the volume, the model and the settings by hand."
            ).format(node=node.GetName(), reason=error)
        ) from error


def source_volume_id(node: Any) -> str:
    """Give the node ID of the (first) volume that a result was made from; empty if that is not known, or gone."""
    made = node.GetAttribute(ATTRIBUTE) and node.GetNumberOfNodeReferences(SOURCE_ROLE)
    return (_present_id(node, SOURCE_ROLE, 0) or "") if made else ""


def _present_id(node: Any, role: str, n: int) -> str | None:
    found = node.GetNthNodeReference(role, n)
    return None if found is None else str(found.GetID())


def _set_or_remove(node: Any, attribute: str, text: str) -> None:
    if text:
        node.SetAttribute(attribute, text)
    else:
        node.RemoveAttribute(attribute)
