"""nnU-Net results folders: both plans forms import and load strictly; what is not ours is refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.models_helpers import DATASET, make_plans, make_results
from mambaseg.errors import ModelError
from mambaseg.models import Model, load_model
from mambaseg.models.importers.nnunet import import_nnunet
from mambaseg.models.spec import Regions


def test_the_published_trainers_folder_imports_and_loads_strictly(shared: Path) -> None:
    folder = shared / "checkpoints" / "Dataset901_CT"
    model = load_model(folder)
    spec = model.spec
    file = folder / "nnUNetTrainerUMambaBot__nnUNetPlans__3d_fullres" / "fold_all" / "checkpoint_final.pth"
    assert model.weights_sha256("all") == hashlib.sha256(file.read_bytes()).hexdigest()
    assert spec.network.name == "umamba_bot"
    assert spec.network.architecture["features_per_stage"] == [8, 16, 32, 64, 64]
    assert (spec.patch_size, spec.spacing, spec.orientation) == ((48, 64, 64), (3.0, 3.0, 3.0), "as_stored")
    assert spec.mirror_axes == (0, 1, 2)
    scaling = spec.normalisation[0]
    assert (scaling.scheme, scaling.lower, scaling.upper) == ("ct", -92.0, 771.0)
    codes = {label.name: label.terminology.type.value for label in spec.labels if label.terminology}
    assert codes["liver"] == "10200004"
    assert codes["urinary_bladder"] == "89837001"
    assert len({label.color for label in spec.labels}) == 7
    network = model.build_network()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 48, 64, 64)).shape == (1, 8, 48, 64, 64)


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize(
    ("trainer", "network"),
    [
        ("nnUNetTrainerUMambaBot", "umamba_bot"),
        ("nnUNetTrainerUMambaEnc", "umamba_enc"),
        ("nnUNetTrainerUMambaEncNoAMP", "umamba_enc"),
        ("nnUNetTrainerUMambaBot_250epochs", "umamba_bot"),
    ],
)
def test_both_plans_forms_import(tmp_path: Path, form: str, trainer: str, network: str) -> None:
    folder = make_results(tmp_path, make_plans(form), trainer=trainer, network=network)
    model = import_nnunet(folder)
    assert model.spec.network.name == network
    assert model.spec.paired_labels == ((2, 3),)
    model.build_network()


def test_lightm_unet_imports(tmp_path: Path) -> None:
    small = {"init_filters": 8, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]}
    folder = make_results(
        tmp_path, make_plans("old"), trainer="nnUNetTrainerLightMUNet", network="lightm_unet", **small
    )
    model = import_nnunet(folder)
    assert model.spec.network.architecture == small
    model.build_network()


def test_our_own_network_class_in_the_plans_counts(tmp_path: Path) -> None:
    plans = make_plans("new")
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "mambaseg.networks.residual_unet.ResidualUNet"
    folder = make_results(tmp_path, plans, trainer="nnUNetTrainerMambaseg", network="residual_unet")
    model = import_nnunet(folder)
    assert model.spec.network.name == "residual_unet"
    model.build_network()


def test_folds_and_checkpoints_are_chosen_as_nnunet_does(tmp_path: Path) -> None:
    make_results(tmp_path, make_plans("old"), folds=("0", "1", "all"), prefix="module.")
    folder = make_results(tmp_path, make_plans("old"), folds=("1",), checkpoint="checkpoint_best")
    assert import_nnunet(tmp_path).folds == ("0", "1")
    assert import_nnunet(folder, folds=["all"]).folds == ("all",)
    assert import_nnunet(folder, checkpoint="checkpoint_best").folds == ("1",)
    import_nnunet(folder, folds=[1]).build_network()
    with pytest.raises(ModelError, match=r"no checkpoint_latest\.pth.*fold_1/checkpoint_best\.pth"):
        import_nnunet(folder, checkpoint="checkpoint_latest")
    with pytest.raises(ModelError, match="fold_3"):
        import_nnunet(folder, folds=[3])


def test_several_models_in_a_folder_are_listed(tmp_path: Path) -> None:
    make_results(tmp_path, make_plans("old"))
    make_results(tmp_path, make_plans("old"), trainer="nnUNetTrainerUMambaEnc", network="umamba_enc")
    with pytest.raises(ModelError, match=r"nnUNetTrainerUMambaBot__.*nnUNetTrainerUMambaEnc__"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="no nnU-Net results folder"):
        load_model(tmp_path / "nnUNetTrainerUMambaBot__nnUNetPlans__3d_fullres" / "fold_0")


@pytest.mark.parametrize(
    ("trainer", "changes", "words"),
    [
        ("nnUNetTrainer", {}, "'nnUNetTrainer' with the network 'PlainConvUNet'"),
        ("nnUNetTrainer", {"UNet_class_name": "ResidualEncoderUNet"}, "'ResidualEncoderUNet'"),
        ("nnUNetTrainerUMambaBot", {"previous_stage": "3d_lowres"}, "cascade"),
        ("nnUNetTrainerUMambaBot", {"inherits_from": "3d_fullres"}, "circle"),
        ("nnUNetTrainerUMambaBot", {"inherits_from": "gone"}, "no configuration 'gone'"),
        ("nnUNetTrainerUMambaBot", {"normalization_schemes": ["MyNormalization"]}, "'MyNormalization'"),
        ("nnUNetTrainerUMambaBot", {"resampling_fn_data": "resample_torch_fornnunet"}, "'resample_torch_fornnunet'"),
        ("nnUNetTrainerUMambaBot", {"resampling_fn_data_kwargs": {"order": 2}}, "orders 0, 1 and 3"),
        ("nnUNetTrainerUMambaBot", {"plans": {"image_reader_writer": "MyReader"}}, "'MyReader'"),
        ("nnUNetTrainerUMambaBot", {"plans": {"transpose_forward": [0, 0, 1]}}, "transpose_forward"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, trainer: str, changes: dict[str, Any], words: str
) -> None:
    folder = make_results(tmp_path, make_plans("old", **changes), trainer=trainer)
    with pytest.raises(ModelError, match=words):
        import_nnunet(folder)


def test_a_cascade_by_its_name_is_refused(tmp_path: Path) -> None:
    plans = make_plans("old")
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres"}
    folder = make_results(tmp_path, plans, configuration="3d_cascade_fullres")
    with pytest.raises(ModelError, match="cascade"):
        import_nnunet(folder)


def test_inheritance_overrides_the_parent(tmp_path: Path) -> None:
    plans = make_plans("old")
    plans["configurations"]["3d_other"] = {"inherits_from": "3d_fullres", "spacing": [4.0, 2.0, 2.0]}
    model = import_nnunet(make_results(tmp_path, plans, configuration="3d_other"))
    assert model.spec.spacing == (4.0, 2.0, 2.0)
    assert model.spec.patch_size == (8, 16, 16)


def test_normalisation_resampling_reader_and_axes_are_taken(tmp_path: Path) -> None:
    kwargs = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": True}
    plans = make_plans(
        "new",
        normalization_schemes=["ZScoreNormalization", "RescaleTo01Normalization"],
        use_mask_for_norm=[True, False],
        resampling_fn_data_kwargs=kwargs,
        resampling_fn_probabilities_kwargs=kwargs,
        plans={"image_reader_writer": "NibabelIOWithReorient", "transpose_forward": [1, 0, 2]},
    )
    dataset = {**DATASET, "channel_names": None, "modality": {"1": "FLAIR", "0": "T1"}}
    model = import_nnunet(make_results(tmp_path, plans, dataset=dataset, channels=2))
    spec = model.spec
    assert [(item.scheme, item.use_mask) for item in spec.normalisation] == [("zscore", True), ("rescale_0_1", False)]
    assert [(item.role, item.modality) for item in spec.channels] == [("T1", "MR"), ("FLAIR", "MR")]
    assert (spec.resampling.image_order, spec.resampling.separate_axis) == (1, "always")
    assert (spec.orientation, spec.axes) == ("RAS", (1, 0, 2))
    assert import_nnunet(tmp_path, orientation="LPS").spec.orientation == "LPS"


def test_regions_and_the_ignore_label(tmp_path: Path) -> None:
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
    }
    model = import_nnunet(make_results(tmp_path, make_plans("old"), dataset=dataset, classes=3))
    assert model.spec.regions == Regions(((1, 2, 3), (2, 3), (3,)), (1, 2, 3))
    assert [(label.name, label.value) for label in model.spec.labels] == [("whole", 1), ("core", 2), ("enhancing", 3)]
    model.build_network()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "a": 1, "b": 3}, "without gaps"),
        ({"background": 0, "a": [1, 2], "b": 2}, "regions_class_order"),
        ({"background": 0, "a": "one"}, "'a' the label 'one'"),
    ],
)
def test_faulty_labels_are_refused(tmp_path: Path, labels: dict[str, Any], words: str) -> None:
    folder = make_results(tmp_path, make_plans("old"), dataset={**DATASET, "labels": labels})
    with pytest.raises(ModelError, match=words):
        import_nnunet(folder)


def test_an_imported_model_is_a_model(tmp_path: Path) -> None:
    model = import_nnunet(make_results(tmp_path, make_plans("old")))
    assert isinstance(model, Model)
    assert "checkpoint file" in model.spec.source["sha256_of"]
    assert "licence" in model.licence_text
