"""Importing bare VM-UNet and Mamba-UNet checkpoints: a ``.pth`` file and a short description of how it was used.

Those networks were trained on whole slices resized to 224 or 256, with scaling that no file of theirs records, so a
person says it: ``{"schema_version": 1, "preset": "vm_unet_isic"}`` at the least, any entry of the preset replaced by
one
of the same name (``description.schema.json`` lists them). The description lies beside the checkpoint as ``NAME.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.errors import ModelError
from mambaseg.models.importers.checkpoint import read_checkpoint
from mambaseg.models.importers.nnunet import UNKNOWN_LICENCE, tensors
from mambaseg.models.importers.presets import PRESETS
from mambaseg.models.jsonfile import check_schema, check_version, read_json
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.models.schema import spec_to_json
from mambaseg.models.spec import (
    AS_STORED,
    Channel,
    ModelSpec,
    NetworkSpec,
    Normalisation,
    Regions,
    Resize,
    WeightsFile,
)
from mambaseg.models.structures import make_labels, paired_labels
from mambaseg.models.weights import sha256_hex

if TYPE_CHECKING:
    import torch

_DESCRIPTION_VERSION = 1
_INNER = {"vm_unet": "vmunet.", "mamba_unet": "mamba_unet."}
_HEAD = {"vm_unet": "vmunet.final_conv.weight", "mamba_unet": "mamba_unet.output.weight"}
_WRAPPERS = ("module.", "_orig_mod.")
_COUNTERS = ("total_ops", "total_params")  # thop, the authors' operation counter, leaves these in every module
_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_TITLES = {"vm_unet": "VM-UNet", "mamba_unet": "Mamba-UNet"}


def find_description(checkpoint: Path) -> Path | None:
    """Give the description beside a checkpoint: ``best.json`` for ``best.pth``; None where there is none."""
    beside = checkpoint.with_suffix(".json")
    return beside if beside.is_file() else None


def import_resized_2d(
    checkpoint: Path | str | None, description: Path | str | Mapping[str, Any], *, model_id: str | None = None
) -> Model:
    """Read a bare VM-UNet or Mamba-UNet checkpoint into memory.

    Parameters
    ----------
    checkpoint
        The ``.pth`` file: a state_dict, or a training checkpoint with one under ``model_state_dict``, ``state_dict`` or
        ``model``. None takes the one that the description names (a path beside it).
    description
        A JSON file or its contents.
    model_id
        The model's id; None takes the description's, or makes one.

    Returns
    -------
    Model
        Input mode ``resize``; widths and depths are read off the weights.

    Raises
    ------
    ModelError
        If the description is faulty, or the checkpoint does not hold such a network's weights or holds more than
        weights.
    """
    given, beside = _read_description(description)
    path = _checkpoint_path(checkpoint, given, beside)
    name = str(given["network"])
    state = _state(path, name)
    classes = int(state[_HEAD[name]].shape[0])
    values = {str(item["name"]): int(item["value"]) for item in given["labels"]}
    colors = {str(item["name"]): item["color"] for item in given["labels"] if "color" in item}
    labels = make_labels(values, colors)
    # One output channel is a sigmoid's: a single region, painted where its logit is above 0.
    regions = Regions(((labels[0].value,),), (labels[0].value,)) if classes == 1 else None
    digest, size = sha256_hex(path.read_bytes()), path.stat().st_size
    licence = str(given.get("licence", UNKNOWN_LICENCE))
    title = str(given.get("title") or f"{_TITLES[name]} ({path.stem})")
    spec = ModelSpec(
        id=model_id or str(given.get("id") or _slug(f"{name}-{path.stem}")),
        version=str(given.get("version", "1")),
        title=title,
        text=str(given.get("text", "")),
        network=NetworkSpec(name, 2, 3, classes, _architecture(state, name)),
        patch_size=tuple(given["size"]),
        spacing=(1.0, 1.0),
        channels=tuple(Channel(**item) for item in given["channels"]),
        normalisation=tuple(Normalisation(**item) for item in given["normalisation"]),
        labels=labels,
        regions=regions,
        paired_labels=paired_labels(labels),
        orientation=str(given.get("orientation", AS_STORED)),
        input_mode="resize",
        resize=Resize(**given.get("resize", {})),
        trained_on=str(given.get("trained_on", "")),
        tested_on=str(given.get("tested_on", "")),
        licence=licence,
        citation=str(given.get("citation", "")),
        weights=(WeightsFile("all", "fold_all.safetensors", digest, size),),
        source={
            "format": "bare checkpoint",
            "preset": str(given.get("preset", "")),
            "checkpoint": path.name,
            "checkpoint_sha256": {"all": digest},
            "sha256_of": "checkpoint file",
        },
    )
    spec_to_json(spec)  # what could not be written as model.json is refused here already
    card = f"# {title}\n\nImported from the checkpoint {path.name}. No figures were measured. Not for clinical use.\n"
    return Model(spec, MemoryWeights({"all": state}, {"all": digest}), card, f"{licence}\n", str(path))


def _read_description(description: Path | str | Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    if isinstance(description, Mapping):
        value, what, beside = dict(description), "The description", None
    else:
        beside = Path(description)
        value, what = read_json(beside), f"The description '{beside}'"
    check_version(value, _DESCRIPTION_VERSION, what)
    check_schema(value, "description", what)
    preset = PRESETS[value["preset"]] if "preset" in value else {}
    merged = {**preset, **value}
    for key in ("network", "size", "channels", "normalisation", "labels"):
        if key not in merged:
            raise ModelError(f"{what}: the key '{key}' is missing, and no preset gives it. Add it, or name a preset.")
    return merged, beside


def _checkpoint_path(checkpoint: Path | str | None, given: Mapping[str, Any], beside: Path | None) -> Path:
    if checkpoint is not None:
        return Path(checkpoint)
    if "checkpoint" not in given:
        raise ModelError(
            "Neither the description nor you say which checkpoint to read. Give the path of the .pth file."
        )
    return (beside.parent if beside else Path()) / str(given["checkpoint"])


def _state(path: Path, name: str) -> dict[str, torch.Tensor]:
    value = read_checkpoint(path)
    if isinstance(value, Mapping):
        value = next((value[key] for key in _STATE_KEYS if isinstance(value.get(key), Mapping)), value)
    state = tensors(value, f"The checkpoint '{path}'", _WRAPPERS)
    state = {key: item for key, item in state.items() if key.rpartition(".")[2] not in _COUNTERS}
    inner = _INNER[name]
    if not any(key.startswith(inner) for key in state):
        state = {inner + key: item for key, item in state.items()}
    for needed in (_HEAD[name], f"{inner}patch_embed.proj.weight"):
        if needed not in state:
            raise ModelError(
                f"The checkpoint '{path}' holds no '{needed}', so it is no whole {_TITLES[name]}. "
                "Weights of the encoder alone (VMamba) cannot segment; choose a trained checkpoint."
            )
    flat = next((key for key in (_HEAD[name],) if state[key].ndim == 0), None)
    if flat is not None:
        raise ModelError(f"The checkpoint '{path}' holds '{flat}' as a single number. It is damaged: get it again.")
    return state


def _architecture(state: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """Depths and widths, counted in the weights."""
    inner = _INNER[name]
    depths, dims = _stages(state, f"{inner}layers.")
    found: dict[str, Any] = {"depths": depths, "dims": dims}
    if name == "vm_unet":
        found["depths_decoder"] = _stages(state, f"{inner}layers_up.")[0]
    return found


def _stages(state: Mapping[str, torch.Tensor], prefix: str) -> tuple[list[int], list[int]]:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.blocks\.(\d+)\.ln_1\.weight")
    blocks: dict[int, int] = {}
    widths: dict[int, int] = {}
    for key, tensor in state.items():
        found = pattern.fullmatch(key)
        if found and tensor.ndim > 0:
            stage = int(found[1])
            blocks[stage] = max(blocks.get(stage, 0), int(found[2]) + 1)
            widths[stage] = int(tensor.shape[0])
    return [blocks[stage] for stage in sorted(blocks)], [widths[stage] for stage in sorted(widths)]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:128] or "model"
