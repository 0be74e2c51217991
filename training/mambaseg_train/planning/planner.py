"""nnU-Net's planner with one of our networks in the place of its own.

nnU-Net's search is used as it is: it starts from a patch of the data's aspect, and makes it smaller on the axis that is
largest for the data until two samples fit. What fits is asked of `planning.memory` instead of the plain U-Net's table,
for the network that would really be trained on that patch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from mambaseg_train.errors import PlanError
from mambaseg_train.files import write_text
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.architecture import Drawn, Topology, draw
from mambaseg_train.planning.memory import TrainingMemory, training_memory
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.trainer.settings import TRAINING_KEY

_GIBI = 2**30
_USABLE = 0.9  # the rest is lost between blocks of different sizes
_DEVICE_ITSELF = {"cuda": 0.5 * _GIBI, "cpu": 0.0}  # what the driver takes before the first tensor
_DATA = "mambasegData"
_SHORTEST = 4
_SMALLEST_BATCH = 2


class MambasegPlanner(ExperimentPlanner):  # type: ignore[misc]  # nnU-Net has no types
    """Plans for one network and one data set; call `plan_experiment`.

    Parameters
    ----------
    dataset
        nnU-Net's number or full name.
    network
        One of ours.
    memory_gb
        Memory of the device to train on, in GiB.
    plans_name
        Name of the plans file.
    sizes
        Smaller than data and memory give, where a person wants it so.
    spacing
        Target spacing in mm, in the order of the stored arrays' axes, or None for nnU-Net's choice.
    device
        ``cuda`` or ``cpu``: where it will be trained.
    lowres
        Whether to plan ``3d_lowres`` too where the patch covers little of the image.
    dims
        Plan only configurations of so many dimensions (2 or 3); None: of all in which the network exists.
    """

    def __init__(
        self,
        dataset: str | int,
        network: str,
        memory_gb: float,
        plans_name: str,
        sizes: Sizes,
        spacing: Sequence[float] | None = None,
        device: str = "cuda",
        lowres: bool = True,
        dims: int | None = None,
    ) -> None:
        super().__init__(
            dataset,
            gpu_memory_target_in_gb=memory_gb,
            plans_name=plans_name,
            overwrite_target_spacing=None if spacing is None else [float(value) for value in spacing],
        )
        self.network = network
        self.traits = traits(network)
        self.dims = self.traits.dims if dims is None else (dims,)
        self.sizes = sizes
        self.device = device
        usable = _USABLE * memory_gb * _GIBI - _DEVICE_ITSELF[device]
        if usable <= 0:
            raise PlanError(f"The memory target of {memory_gb} GiB is less than the device takes for itself. Raise it.")
        # nnU-Net compares its estimate with a reference; here both are bytes, for one sample
        self.UNet_reference_val_2d = self.UNet_reference_val_3d = self.usable = usable
        self.UNet_reference_val_corresp_GB = memory_gb
        self.UNet_reference_val_corresp_bs_2d = self.UNet_reference_val_corresp_bs_3d = 1
        if not lowres or sizes.max_patch is not None or 3 not in self.dims:
            self.lowres_creation_threshold = 0
        self._channels = len(self.dataset_json.get("channel_names", self.dataset_json.get("modality", {})))
        self._shortest: tuple[float, ...] = ()
        # told by who calls
        self.left_right_axis: int | None = None  # of the stored arrays
        self.training: dict[str, Any] = {}  # settings that `trainer.settings` takes from the plans
        self.recipe = ""

    @property
    def heads(self) -> int:
        """Channels of the logits: the classes with the background, or the regions without."""
        labels = self.dataset_json["labels"]
        regions = any(isinstance(value, (list, tuple)) and len(value) > 1 for value in labels.values())
        return len([name for name in labels if name != "ignore"]) - int(regions)

    def _topology(self, patch: Sequence[int], arguments: dict[str, Any]) -> Topology:
        return Topology(
            tuple(int(edge) for edge in patch),
            tuple(tuple(int(size) for size in kernel) for kernel in arguments["kernel_sizes"]),
            tuple(tuple(int(step) for step in stride) for stride in arguments["strides"]),
        )

    def memory(self, drawn: Drawn) -> TrainingMemory:
        """Memory of a training step of this network."""
        return training_memory(
            self.network,
            drawn.engine_arguments(self.traits.staged),
            drawn.patch,
            in_channels=self._channels,
            num_classes=self.heads,
            device=self.device,
            amp=self.training.get("amp"),
        )

    def static_estimate_VRAM_usage(  # noqa: N802  (nnU-Net's name)
        self, patch_size: Sequence[int], _inputs: int, _outputs: int, _class: str, arch_kwargs: dict[str, Any], _: Any
    ) -> float:
        """Bytes of one sample, scaled so that nnU-Net's comparison leaves room for what does not grow with it."""
        if any(edge < least for edge, least in zip(patch_size, self._shortest, strict=True)):
            raise PlanError(self._too_little())
        found = self.memory(draw(self.network, self._topology(patch_size, arch_kwargs), self.sizes))
        if found.fixed >= self.usable:
            raise PlanError(self._too_little())
        return found.sample * self.usable / (self.usable - found.fixed)

    def _too_little(self) -> str:
        return (
            f"{self.traits.title} cannot be trained within {self.UNet_vram_target_GB} GiB: even two of the smallest "
            "patches do not fit. Raise --memory, or choose smaller features."
        )

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, approximate_n_voxels_dataset: float, _cache: Any
    ) -> dict[str, Any]:
        """nnU-Net's plan for one configuration, with our network, its patch and the batch that fits."""
        median = [float(edge) for edge in median_shape]
        if len(spacing) not in self.dims:  # plan_experiment asks for all; save_plans drops it
            return {"patch_size": [round(edge) for edge in median], "spacing": np.array(spacing)}
        most = self.sizes.max_patch or float("inf")
        shape = [min(edge, most) for edge in median]
        self._shortest = tuple(min(_SHORTEST, edge) for edge in shape)
        plan: dict[str, Any] = super().get_plans_for_configuration(
            spacing, shape, data_identifier, approximate_n_voxels_dataset, {}
        )
        drawn = draw(self.network, self._topology(plan["patch_size"], plan["architecture"]["arch_kwargs"]), self.sizes)
        memory = self.memory(drawn)
        fitting = int((self.usable - memory.fixed) // memory.sample)
        batch = self.sizes.batch or max(_SMALLEST_BATCH, min(int(plan["batch_size"]), fitting))
        if memory.total(batch) > self.usable:
            raise PlanError(
                f"A batch of {batch} patches of {' x '.join(map(str, drawn.patch))} takes "
                f"{memory.total(batch) / _GIBI:.1f} GiB in training, more than the memory target of "
                f"{self.UNet_vram_target_GB} GiB leaves. Raise --memory, or choose a smaller batch or patch."
            )
        plan.update(
            patch_size=list(drawn.patch),
            batch_size=batch,
            median_image_size_in_voxels=median,
            architecture={
                "network_class_name": self.traits.class_path,
                "arch_kwargs": drawn.arguments,
                "_kw_requires_import": [],
            },
            mambaseg={"training_bytes": memory.total(batch), "bytes_per_sample": memory.sample},
        )
        return plan

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Folder of the preprocessed data: the same for all networks, which differ in nothing that it depends on."""
        own = self.overwrite_target_spacing is not None or configuration_name not in {"2d", "3d_fullres"}
        return f"{self.plans_identifier if own else _DATA}_{configuration_name}"

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write the plans in place of an earlier file of that name.

        The cascade is left out: the engine runs no network on the labels of another.
        """
        configurations = plans["configurations"]
        configurations.pop("3d_cascade_fullres", None)
        for name in list(configurations):
            configurations[name].pop("next_stage", None)
            if (2 if name == "2d" else 3) not in self.dims:
                del configurations[name]
        plans["mambaseg"] = {
            "network": self.network,
            "memory_gb": self.UNet_vram_target_GB,
            "device": self.device,
            "sizes": self.sizes.to_json(),
            "left_right_axis": self.left_right_axis,
            "recipe": self.recipe,
            TRAINING_KEY: self.training,
        }
        recursive_fix_for_json_export(plans)
        folder = Path(str(nnUNet_preprocessed)) / self.dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.plans_identifier}.json", json.dumps(plans, indent=2) + "\n")
