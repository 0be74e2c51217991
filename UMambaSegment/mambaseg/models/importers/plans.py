"""nnU-Net v2 plans of both forms: the configuration, and the network that a trainer builds from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mambaseg.errors import ModelError
from mambaseg.models.checks import NETWORK_NAMES
from mambaseg.models.spec import AS_STORED, Normalisation, NormalisationScheme, Resampling

# The published trainers, the longer name first where one begins like another.
TRAINERS = {
    "nnUNetTrainerUMambaEncNoAMP": "umamba_enc",
    "nnUNetTrainerUMambaEnc": "umamba_enc",
    "nnUNetTrainerUMambaBot": "umamba_bot",
    "nnUNetTrainerLightMUNet": "lightm_unet",
}
STAGED = ("umamba_bot", "umamba_enc", "residual_unet")
# Packages whose network classes stand in plans that mambaseg or mambaseg_train wrote, as <package>.<network>.<class>
_OWN_PACKAGES = (["mambaseg", "networks"], ["mambaseg_train", "networks"])
_VISUAL_ARGUMENTS = {
    "vm_unet": ("depths", "depths_decoder", "dims", "drop_path_rate"),
    "mamba_unet": ("depths", "dims", "drop_path_rate"),
}
_PLAIN_SCHEMES: Mapping[str, NormalisationScheme] = {
    "RescaleTo01Normalization": "rescale_0_1",
    "RGBTo01Normalization": "rgb_0_1",
    "NoNormalization": "none",
}
# nnU-Net's readers give arrays (k, j, i) as SimpleITK does; only the two that reorient look at the direction.
_READERS = {
    "SimpleITKIO": AS_STORED,
    "NibabelIO": AS_STORED,
    "NaturalImage2DIO": AS_STORED,
    "Tiff3DIO": AS_STORED,
    "NibabelIOWithReorient": "RAS",
    "SimpleITKIOWithReorient": "RAS",
}
_ORDERS = (0, 1, 3)
_MOST_STAGES = 16
_ANISOTROPY = 3


@dataclass(frozen=True)
class Planned:
    """What the plans say of one configuration, in either form."""

    name: str
    values: Mapping[str, Any]
    plans: Mapping[str, Any]

    @property
    def class_name(self) -> str:
        """The network class that the plans name (a U-Mamba trainer builds its own whatever stands here)."""
        architecture = self.values.get("architecture")
        if isinstance(architecture, Mapping):
            return str(architecture.get("network_class_name", ""))
        return str(self.values.get("UNet_class_name", ""))

    def need(self, key: str) -> Any:
        """One entry of the configuration.

        Raises
        ------
        ModelError
            If it is not there.
        """
        if key not in self.values:
            raise ModelError(
                f"The plans' configuration '{self.name}' lacks '{key}'. The plans.json is not the trained one."
            )
        return self.values[key]


def configuration(plans: Mapping[str, Any], name: str) -> Planned:
    """One configuration of the plans, with what it inherits.

    Raises
    ------
    ModelError
        If it is not there, inherits in a circle, or is part of a cascade.
    """
    known = plans.get("configurations")
    if not isinstance(known, Mapping):
        raise ModelError(
            "The plans.json has no 'configurations', so it is no nnU-Net v2 plans file. Get the right one."
        )
    chain: list[Mapping[str, Any]] = []
    visited: list[str] = []
    current: str | None = name
    while current is not None:
        if current in visited:
            raise ModelError(
                f"The plans' configuration '{name}' inherits in a circle ({' from '.join([*visited, current])})."
            )
        if current not in known:
            raise ModelError(f"The plans have no configuration '{current}'. They have: {', '.join(known)}.")
        visited.append(current)
        chain.append(known[current])
        current = known[current].get("inherits_from")
    values: dict[str, Any] = {}
    for part in reversed(chain):
        values.update(part)
    if values.get("previous_stage") or "cascade" in name:
        raise ModelError(
            f"The configuration '{name}' is a cascade: its network needs the labels of an earlier network as input, "
            "which is not supported. Import a '3d_fullres', '3d_lowres' or '2d' model instead."
        )
    return Planned(name, values, plans)


def network_name(planned: Planned, trainer: str) -> str:
    """Which of our networks a trainer built.

    Raises
    ------
    ModelError
        If it is a plain nnU-Net network, or one that is not known.
    """
    own = _own_network(planned)  # first: such plans say surely what was built, whatever the trainer is called
    if own is not None:
        return own
    for known, name in TRAINERS.items():
        if trainer == known or trainer.startswith(f"{known}_"):
            return name
    plain = planned.class_name.rpartition(".")[2] or "unknown"
    raise ModelError(
        f"This model was trained by '{trainer}' with the network '{plain}', which is not a Mamba network that "
        "mambaseg has "
        f"(it has {', '.join(NETWORK_NAMES)}). For plain nnU-Net models use nnU-Net itself, or SlicerNNUNet."
    )


def _own_network(planned: Planned) -> str | None:
    """The network that plans of mambaseg or mambaseg_train name; None for anyone else's."""
    parts = planned.class_name.split(".")
    if parts[:2] not in _OWN_PACKAGES:
        return None
    return next((part for part in parts[2:] if part in NETWORK_NAMES), None)


def architecture(planned: Planned, name: str, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``mambaseg.networks.build`` beside dimensions, channels and classes.

    U-Mamba's: features ``min(base * 2**stage, maximum)``, kernels and strides from the plans
    (``get_umamba_bot_3d_from_plans``
    and its like, bowang-lab/U-Mamba). LightM-UNet's: fixed by its trainer; the filters are read off the weights.
    In plans that mambaseg_train wrote, every network's arguments are those of the plans.

    Raises
    ------
    ModelError
        If the plans lack what is needed.
    """
    section = planned.values.get("architecture")
    if name == "lightm_unet":
        first = weights.get("convInit.1.conv.weight")
        filters = int(first.shape[0]) if first is not None and first.ndim > 0 else 32
        settings = {"init_filters": filters, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]}
        own = section.get("arch_kwargs", {}) if isinstance(section, Mapping) and _own_network(planned) else {}
        return {**settings, **{key: own[key] for key in settings if key in own}}
    if name in _VISUAL_ARGUMENTS and isinstance(section, Mapping) and _own_network(planned):
        own = section.get("arch_kwargs", {})
        return {key: own[key] for key in _VISUAL_ARGUMENTS[name] if key in own}
    if name not in STAGED:
        raise ModelError(
            f"The network '{name}' is not one that nnU-Net trains. Import its checkpoint with a description."
        )
    if isinstance(section, Mapping):
        return _from_section(planned, section.get("arch_kwargs", {}))
    return _from_old_form(planned)


def _from_old_form(planned: Planned) -> dict[str, Any]:
    kernels = _per_axis(planned.need("conv_kernel_sizes"), "'conv_kernel_sizes'")
    stages = _stage_count(len(kernels))
    base = _whole_number(planned.need("UNet_base_num_features"), "'UNet_base_num_features'")
    largest = _whole_number(planned.need("unet_max_num_features"), "'unet_max_num_features'")
    encoder, decoder = "n_conv_per_stage_encoder", "n_conv_per_stage_decoder"
    return {
        "patch_size": whole_numbers(planned.need("patch_size"), "'patch_size'"),
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, largest) for stage in range(stages)],
        "kernel_sizes": kernels,
        "strides": _per_axis(planned.need("pool_op_kernel_sizes"), "'pool_op_kernel_sizes'"),
        "n_conv_per_stage": _per_stage(planned.need(encoder), stages, f"'{encoder}'"),
        "n_conv_per_stage_decoder": _per_stage(planned.need(decoder), stages - 1, f"'{decoder}'"),
    }


def _from_section(planned: Planned, given: Mapping[str, Any]) -> dict[str, Any]:
    where = f"The plans' configuration '{planned.name}'"
    blocks = "n_conv_per_stage" if "n_conv_per_stage" in given else "n_blocks_per_stage"
    for key in ("n_stages", "features_per_stage", "kernel_sizes", "strides", blocks, "n_conv_per_stage_decoder"):
        if key not in given:
            raise ModelError(f"{where} lacks '{key}' in its architecture. The plans.json is not the trained one.")
    stages = _stage_count(given["n_stages"])
    patch = whole_numbers(planned.need("patch_size"), "'patch_size'")
    decoder = "n_conv_per_stage_decoder"
    return {
        "patch_size": patch,
        "n_stages": stages,
        "features_per_stage": _per_stage(given["features_per_stage"], stages, "'features_per_stage'"),
        "kernel_sizes": _per_axis(given["kernel_sizes"], "'kernel_sizes'", stages, len(patch)),
        "strides": _per_axis(given["strides"], "'strides'", stages, len(patch)),
        "n_conv_per_stage": _per_stage(given[blocks], stages, f"'{blocks}'"),
        "n_conv_per_stage_decoder": _per_stage(given[decoder], stages - 1, f"'{decoder}'"),
    }


def numbers(values: Any, what: str) -> list[float]:
    """Read a list of numbers.

    Raises
    ------
    ModelError
        If it is none; ``what`` names the entry in the sentence.
    """
    listed = isinstance(values, (list, tuple))
    if not listed or any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in values):
        raise ModelError(f"The plans.json has {values!r} for {what}, but numbers are needed. Get the trained one.")
    return [float(item) for item in values]


def whole_numbers(values: Any, what: str) -> list[int]:
    """Read a list of whole numbers.

    Raises
    ------
    ModelError
        If it is none; ``what`` names the entry in the sentence.
    """
    found = numbers(values, what)
    if not all(item.is_integer() for item in found):
        raise ModelError(
            f"The plans.json has {values!r} for {what}, but whole numbers are needed. Get the trained one."
        )
    return [int(item) for item in found]


def _whole_number(value: Any, what: str) -> int:
    return whole_numbers([value], what)[0]


def _stage_count(value: Any) -> int:
    """Read the number of stages, before lists of that length are made."""
    stages = _whole_number(value, "'n_stages'")
    if not 2 <= stages <= _MOST_STAGES:
        raise ModelError(f"The plans.json has {stages} stages, but a network has 2 to {_MOST_STAGES}.")
    return stages


def _per_stage(value: Any, stages: int, what: str) -> list[int]:
    return whole_numbers([value] * stages if isinstance(value, int) else value, what)


def _per_axis(values: Any, what: str, stages: int = 0, dims: int = 0) -> list[list[int]]:
    """Read sizes a stage and axis; one number stands for all stages, or for all axes of a stage."""
    items = [values] * stages if isinstance(values, int) and stages else values
    if not isinstance(items, (list, tuple)):
        raise ModelError(f"The plans.json has {values!r} for {what}, but a list is needed. Get the trained one.")
    return [whole_numbers([item] * dims if isinstance(item, int) and dims else item, what) for item in items]


def orientation(plans: Mapping[str, Any], wanted: str | None) -> str:
    """Give the orientation that the reader of the training images gave them; ``wanted`` overrules it.

    Raises
    ------
    ModelError
        If the reader is not known and nothing is wanted.
    """
    if wanted is not None:
        return wanted
    reader = str(plans.get("image_reader_writer", "SimpleITKIO"))
    if reader not in _READERS:
        raise ModelError(
            f"The training images were read by '{reader}', and it is not known how it turns them. "
            "Say the orientation when importing: 'as_stored', or three letters such as LPS."
        )
    return _READERS[reader]


def normalisation(planned: Planned, channels: int) -> tuple[Normalisation, ...]:
    """How each channel is scaled, with the numbers that CT needs.

    Raises
    ------
    ModelError
        If a scheme is not known or its numbers are missing.
    """
    schemes = list(planned.need("normalization_schemes"))
    masks = list(planned.values.get("use_mask_for_norm") or [False] * len(schemes))
    if len(schemes) != channels or len(masks) != channels:
        raise ModelError(
            f"The plans scale {len(schemes)} channels, but dataset.json has {channels}. The files do not belong "
            "together."
        )
    plans = planned.plans
    measured = plans.get("foreground_intensity_properties_per_channel")
    if measured is None:
        measured = plans.get("foreground_intensity_properties_by_modality", {})
    return tuple(
        _one_normalisation(str(scheme), bool(mask), measured.get(str(number), {}), number)
        for number, (scheme, mask) in enumerate(zip(schemes, masks, strict=True))
    )


def _one_normalisation(scheme: str, mask: bool, measured: Mapping[str, Any], channel: int) -> Normalisation:
    if scheme == "CTNormalization":
        keys = ("mean", "std", "percentile_00_5", "percentile_99_5")
        missing = [key for key in keys if key not in measured]
        if missing:
            raise ModelError(
                f"The plans lack '{missing[0]}' of channel {channel}, which CT scaling needs. Get the trained "
                "plans.json."
            )
        mean, std, lower, upper = numbers([measured[key] for key in keys], f"the intensities of channel {channel}")
        return Normalisation("ct", mean=mean, std=std, lower=lower, upper=upper)
    if scheme == "ZScoreNormalization":
        return Normalisation("zscore", use_mask=mask)
    if scheme in _PLAIN_SCHEMES:
        return Normalisation(_PLAIN_SCHEMES[scheme])
    known = ", ".join(["CTNormalization", "ZScoreNormalization", *_PLAIN_SCHEMES])
    raise ModelError(f"The intensity scaling '{scheme}' is not supported. Supported are {known}.")


def resampling(planned: Planned) -> Resampling:
    """How images are resampled to the network's spacing and logits back.

    Raises
    ------
    ModelError
        If a function or a setting of it is not supported.
    """
    image = _one_resampling(planned, "resampling_fn_data", 3)
    logits = _one_resampling(planned, "resampling_fn_probabilities", 1)
    if image is None and logits is None:
        return Resampling(enabled=False)
    if image is None or logits is None or image[2] != logits[2]:
        raise ModelError(
            f"The configuration '{planned.name}' resamples images and logits in different ways, which is not supported."
        )
    return Resampling(True, image[0], image[1], logits[0], logits[1], image[2])


def _one_resampling(planned: Planned, key: str, order: int) -> tuple[Any, Any, Any] | None:
    function = planned.values.get(key, "resample_data_or_seg_to_shape")
    given = planned.values.get(f"{key}_kwargs", {"order": order, "order_z": 0, "force_separate_z": None})
    if function == "no_resampling_hack":
        return None
    if function != "resample_data_or_seg_to_shape":
        raise ModelError(
            f"The configuration '{planned.name}' resamples with '{function}', which is not supported. "
            "Supported are resample_data_or_seg_to_shape and no_resampling_hack."
        )
    orders = (given.get("order", 3), given.get("order_z", 0))
    threshold = given.get("separate_z_anisotropy_threshold", _ANISOTROPY)
    if not set(orders) <= set(_ORDERS) or given.get("is_seg") or threshold != _ANISOTROPY:
        raise ModelError(
            f"The configuration '{planned.name}' sets '{key}' to {dict(given)}, which is not supported: orders "
            "0, 1 and 3 "
            f"and an anisotropy threshold of {_ANISOTROPY} are."
        )
    separate = {None: "auto", True: "always", False: "never"}[given.get("force_separate_z", False)]
    return orders[0], orders[1], separate
