"""Importing nnU-Net v2 results folders of the Mamba trainers.

Sources: bowang-lab/U-Mamba (arXiv 2401.04722), MrBlankness/LightM-UNet (arXiv 2403.05246), MIC-DKFZ/nnUNet 2.8.1
(``predict_from_raw_data.py`` for which file counts: plans and labels from the folder, configuration from the
checkpoint).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.errors import ModelError
from mambaseg.models.importers import dataset as dataset_json
from mambaseg.models.importers import plans as plans_json
from mambaseg.models.importers.checkpoint import read_checkpoint
from mambaseg.models.jsonfile import read_json
from mambaseg.models.model import MemoryWeights, Model, is_plain
from mambaseg.models.schema import spec_to_json
from mambaseg.models.spec import ModelSpec, NetworkSpec, WeightsFile
from mambaseg.models.structures import paired_labels
from mambaseg.models.weights import sha256_hex

if TYPE_CHECKING:
    import torch

UNKNOWN_LICENCE = "unknown"
_LICENCE_TEXT = (
    "The licence of these weights is not known: the folder they were imported from does not say.\n"
    "Ask the people who trained them before passing them on.\n"
)
_PREFIXES = ("module.", "_orig_mod.")
_TITLES = {
    "umamba_bot": "U-Mamba Bot",
    "umamba_enc": "U-Mamba Enc",
    "lightm_unet": "LightM-UNet",
    "vm_unet": "VM-UNet",
    "mamba_unet": "Mamba-UNet",
    "residual_unet": "Residual U-Net",
}


@dataclass(frozen=True)
class _Fold:
    name: str
    file: Path
    sha256: str
    state: dict[str, torch.Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    init_args: Mapping[str, Any]


def is_results_folder(folder: Path) -> bool:
    """Whether a folder looks like nnU-Net's ``Trainer__Plans__configuration``."""
    return folder.is_dir() and (folder / "plans.json").is_file() and any(folder.glob("fold_*"))


def find_results_folder(folder: Path) -> Path:
    """Give the results folder itself, or the only one in a dataset's folder.

    Raises
    ------
    ModelError
        If there is none, or several (they are listed).
    """
    if is_results_folder(folder):
        return folder
    inside = sorted(child for child in folder.iterdir() if is_results_folder(child)) if folder.is_dir() else []
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(child.name for child in inside)
        raise ModelError(f"'{folder}' holds several trained models: {names}. Choose one of these folders.")
    raise ModelError(
        f"'{folder}' is no nnU-Net results folder: it has no plans.json with fold_* folders beside it. "
        "Choose the folder named like Trainer__Plans__3d_fullres."
    )


def import_nnunet(
    folder: Path | str,
    *,
    checkpoint: str = "checkpoint_final",
    folds: Iterable[str | int] | str | int | None = None,
    orientation: str | None = None,
    model_id: str | None = None,
) -> Model:
    """Read an nnU-Net v2 results folder of a Mamba trainer into memory.

    Parameters
    ----------
    folder
        ``<results>/Dataset.../Trainer__Plans__configuration``, or the dataset's folder where it holds only one such.
    checkpoint
        ``checkpoint_final``, ``checkpoint_best`` or ``checkpoint_latest``.
    folds
        Folds to take (``0``, ``"all"``); None takes the numbered ones that have the checkpoint, else ``all``,
        as nnU-Net does.
    orientation
        ``as_stored`` or three letters; None for what the plans' image reader does.
    model_id
        The model's id; None makes one from dataset, network and configuration.

    Returns
    -------
    Model
        Its weights in memory; ``weights_sha256`` is that of the checkpoint file.

    Raises
    ------
    ModelError
        If it is a plain nnU-Net network or a cascade, something is missing, or a checkpoint holds more than weights.
    """
    results = find_results_folder(Path(folder))
    read = [_read_fold(path) for path in _checkpoint_files(results, checkpoint, folds)]
    first = read[0]
    for other in read[1:]:
        if (other.trainer, other.configuration) != (first.trainer, first.configuration):
            raise ModelError(
                f"The folds of '{results}' were trained differently ({first.trainer} {first.configuration}, and "
                f"{other.trainer} {other.configuration}). Choose folds that belong together."
            )
    plans = read_json(results / "plans.json")
    data = (
        read_json(results / "dataset.json")
        if (results / "dataset.json").is_file()
        else first.init_args.get("dataset_json")
    )
    if not isinstance(data, Mapping):
        raise ModelError(f"'{results}' lacks dataset.json, so the labels are not known. Put it back beside plans.json.")
    try:
        spec = _describe(read, plans, data, orientation, model_id)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"The plans.json or dataset.json of '{results}' holds a value of the wrong kind ({error}). "
            "Get the files that the model was trained with."
        ) from error
    hashes = {fold.name: fold.sha256 for fold in read}
    licence = _LICENCE_TEXT if spec.licence == UNKNOWN_LICENCE else f"{spec.licence}\n"
    weights = MemoryWeights({fold.name: fold.state for fold in read}, hashes)
    return Model(spec, weights, _card(spec), licence, str(results))


def _checkpoint_files(results: Path, checkpoint: str, folds: Iterable[str | int] | str | int | None) -> list[Path]:
    name = checkpoint if checkpoint.endswith(".pth") else f"{checkpoint}.pth"
    there = sorted(path.name for path in results.glob("fold_*") if path.is_dir())
    if folds is not None:
        named = [folds] if isinstance(folds, (str, int)) else folds
        wanted = [f"fold_{fold}" for fold in named]
    else:
        having = [fold for fold in there if (results / fold / name).is_file()]
        wanted = [fold for fold in having if fold != "fold_all"] or having
    files = [results / fold / name for fold in wanted]
    if not files or not all(path.is_file() for path in files):
        has = sorted(str(path.relative_to(results).as_posix()) for path in results.glob("fold_*/*.pth"))
        raise ModelError(
            f"'{results}' has no {name} in {', '.join(wanted) if files else 'any fold'}. "
            f"It has: {', '.join(has) or 'no checkpoints at all'}."
        )
    return files


def _read_fold(path: Path) -> _Fold:
    value = read_checkpoint(path)
    if not isinstance(value, Mapping) or not {"network_weights", "trainer_name", "init_args"} <= set(value):
        raise ModelError(
            f"The checkpoint '{path}' is not one that an nnU-Net v2 trainer writes: it lacks network_weights, "
            "trainer_name or "
            "init_args. Bare VM-UNet and Mamba-UNet checkpoints need a description file."
        )
    arguments = value["init_args"]
    if not isinstance(arguments, Mapping) or not isinstance(arguments.get("configuration"), str):
        raise ModelError(f"The checkpoint '{path}' does not say its configuration. It is damaged: get it again.")
    return _Fold(
        name=path.parent.name.removeprefix("fold_"),
        file=path,
        sha256=sha256_hex(path.read_bytes()),
        state=tensors(value["network_weights"], f"The checkpoint '{path}'", _PREFIXES),
        trainer=str(value["trainer_name"]),
        configuration=arguments["configuration"],
        mirror_axes=tuple(
            plans_json.whole_numbers(value.get("inference_allowed_mirroring_axes") or (), "the mirroring axes")
        ),
        init_args=arguments,
    )


def tensors(value: Any, what: str, prefixes: Iterable[str]) -> dict[str, torch.Tensor]:
    """Make a state_dict, less the prefixes that every one of its keys has (as DataParallel and torch.compile leave).

    Raises
    ------
    ModelError
        If it is not a mapping from names to plain tensors on the CPU.
    """
    import torch

    if not isinstance(value, Mapping) or not value:
        raise ModelError(f"{what} holds no weights. Choose another file.")
    odd = next(
        (key for key, item in value.items() if not isinstance(key, str) or not isinstance(item, torch.Tensor)), None
    )
    if odd is not None:
        raise ModelError(f"{what} holds '{odd}' among its weights, which is no tensor. Choose another file.")
    strange = next((key for key, item in value.items() if not is_plain(item)), None)
    if strange is not None:
        raise ModelError(
            f"{what} holds '{strange}' as a sparse, nested, quantised or empty (meta) tensor, which is no weight that "
            "can be loaded. Save its state_dict with plain tensors, or choose another file."
        )
    state = dict(value)
    for prefix in prefixes:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): item for key, item in state.items()}
    return state


def _describe(
    folds: list[_Fold],
    plans: Mapping[str, Any],
    data: Mapping[str, Any],
    orientation: str | None,
    model_id: str | None,
) -> ModelSpec:
    first = folds[0]
    planned = plans_json.configuration(plans, first.configuration)
    name = plans_json.network_name(planned, first.trainer)
    channels = dataset_json.channels(data)
    heads = dataset_json.heads(data)
    patch = tuple(plans_json.whole_numbers(planned.need("patch_size"), "'patch_size'"))
    axes = plans_json.whole_numbers(plans.get("transpose_forward", (0, 1, 2)), "'transpose_forward'")
    if sorted(axes) != [0, 1, 2]:
        raise ModelError(f"The plans' 'transpose_forward' is {axes}, but it must hold 0, 1 and 2 once each.")
    dataset = str(plans.get("dataset_name", "model"))
    spec = ModelSpec(
        id=model_id or _slug(f"{dataset}-{name}-{planned.name}"),
        version="1",
        title=f"{dataset} ({_TITLES.get(name, name)}, {planned.name})",
        text=f"Imported from an nnU-Net v2 results folder of {first.trainer}.",
        network=NetworkSpec(
            name, len(patch), len(channels), heads.num_classes, plans_json.architecture(planned, name, first.state)
        ),
        patch_size=patch,
        spacing=tuple(plans_json.numbers(planned.need("spacing"), "'spacing'")),
        channels=channels,
        normalisation=plans_json.normalisation(planned, len(channels)),
        labels=heads.labels,
        regions=heads.regions,
        orientation=plans_json.orientation(plans, orientation),
        axes=(axes[0], axes[1], axes[2]),
        resampling=plans_json.resampling(planned),
        mirror_axes=first.mirror_axes,
        paired_labels=paired_labels(heads.labels),
        trained_on=dataset,
        licence=" ".join(str(data.get("licence") or data.get("license") or "").split()) or UNKNOWN_LICENCE,
        weights=tuple(
            WeightsFile(fold.name, f"fold_{fold.name}.safetensors", fold.sha256, fold.file.stat().st_size)
            for fold in folds
        ),
        source={
            "format": "nnU-Net v2 results folder",
            "dataset": dataset,
            "trainer": first.trainer,
            "plans": str(plans.get("plans_name", "")),
            "configuration": planned.name,
            "checkpoint": first.file.name,
            "checkpoint_sha256": {fold.name: fold.sha256 for fold in folds},
            "sha256_of": "checkpoint file",
            "image_reader_writer": str(plans.get("image_reader_writer", "")),
        },
    )
    spec_to_json(spec)  # what could not be written as model.json is refused here already
    return spec


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:128] or "model"


def _card(spec: ModelSpec) -> str:
    structures = ", ".join(label.name for label in spec.labels)
    return (
        f"# {spec.title}\n\n"
        f"Imported from an nnU-Net v2 results folder (trainer {spec.source['trainer']}, checkpoint "
        f"{spec.source['checkpoint']}).\n\n"
        f"- Structures: {structures}\n- Trained on: {spec.trained_on}\n- Licence: {spec.licence}\n"
        f"- Orientation: {spec.orientation}\n\n"
        "No figures were measured for this import. Not for clinical use.\n"
    )
