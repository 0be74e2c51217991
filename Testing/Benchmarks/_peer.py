"""nnU-Net 2.8.1 as its own users run it: its preprocessor, its predictor and its export around a plain network.

Its predictor gathers logits in half precision, on the CPU too. For comparing labels there is also the tests' predictor,
which is nnU-Net's with float32 accumulators (Testing/engine/nnunet_oracle.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import _volume
from _record import ROOT

NAME = "nnU-Net 2.8.1"


def _oracle() -> Any:
    """The tests' module of the same name."""
    place = str(ROOT / "Testing" / "engine")
    if place not in sys.path:
        sys.path.append(place)
    import nnunet_oracle

    return nnunet_oracle


def make(spec: Any, network: Any, *, exact: bool = False, device: str = "cpu") -> Any:
    """A predictor around a network; ``exact`` gathers in float32. On CUDA it computes in half precision always."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    oracle = _oracle()
    kind = oracle.Float32Predictor if exact else nnUNetPredictor
    predictor = kind(use_mirroring=False, device=torch.device(device), allow_tqdm=False)
    manager = PlansManager(oracle.plans_of(spec))
    configuration = manager.get_configuration(oracle.CONFIGURATION)
    predictor.manual_initialization(
        network, manager, configuration, [network.state_dict()], oracle.dataset_of(spec), "x", None
    )
    return predictor


def preprocess(predictor: Any, volume: Any) -> tuple[Any, dict[str, Any]]:
    """nnU-Net's preprocessing of a volume, from the float32 array that its reader gives."""
    import numpy as np

    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        volume.voxels[None].astype(np.float32), None, {"spacing": list(volume.geometry.spacing[::-1])},
        predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json,
    )  # fmt: skip
    return data, properties


def export(predictor: Any, logits: Any, properties: dict[str, Any]) -> Any:
    """nnU-Net's way from logits to labels on the image's grid."""
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties,
        num_threads_torch=torch.get_num_threads(),
    )  # fmt: skip


def export_bytes(classes: int, shape: _volume.Shape, target: float | Sequence[float], *, exact: bool = False) -> float:
    """About what its export holds: all logits in float32 on the image's grid, in half precision on the network's.

    ``exact`` gathers the latter in float32.
    """
    small = _volume.voxels(_volume.network_grid(shape, target=target))
    return 1.05 * classes * (4 * _volume.voxels(shape) + (4 if exact else 2) * small) + 1e9
