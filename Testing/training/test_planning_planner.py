"""Patch, depth and batch follow from data and memory, for each network by its own cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mambaseg_train.errors import DataError, PlanError
from mambaseg_train.networks.traits import NETWORKS
from mambaseg_train.nnunet import Folders
from mambaseg_train.planning.api import Planned, plan
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.recipes import load_recipe

NAME = "Dataset902_Made"


@pytest.fixture
def folders(tiny: Path, tmp_path: Path) -> Folders:
    """A data set whose fingerprint says that its images are large; the images themselves stay tiny."""
    made = Folders.below(tmp_path)
    shutil.copytree(tiny / "nnUNet_raw" / "Dataset901_Tiny", made.raw / NAME)
    source = tiny / "nnUNet_preprocessed" / "Dataset901_Tiny" / "dataset_fingerprint.json"
    fingerprint = json.loads(source.read_text())
    cases = len(fingerprint["shapes_after_crop"])
    fingerprint["shapes_after_crop"] = [[96, 160, 160]] * cases
    fingerprint["spacings"] = [[2.0, 1.0, 1.0]] * cases
    (made.preprocessed / NAME).mkdir(parents=True)
    (made.preprocessed / NAME / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return made


def _plan(folders: Folders, network: str, memory: float, **more: object) -> Planned:
    return plan(902, network, folders, memory_gb=memory, lowres=False, say=lambda _: None, **more)


def _voxels(planned: Planned, name: str = "3d_fullres") -> int:
    found = next(each for each in planned.configurations if each.name == name)
    product = 1
    for edge in found.patch:
        product *= edge
    return product


def test_more_memory_gives_larger_patches_or_batches_and_all_fit(folders: Folders):
    small, large = (_plan(folders, "umamba_bot", memory) for memory in (3, 8))
    assert _voxels(small) < _voxels(large)
    for planned, memory in ((small, 3), (large, 8)):
        for each in planned.configurations:
            assert each.batch >= 2
            assert each.training_bytes <= 0.9 * memory * 2**30
    # fewer voxels are worth fewer halvings
    assert small.configurations[-1].stages <= large.configurations[-1].stages


def test_a_costlier_network_gets_smaller_patches_from_the_same_memory(folders: Folders):
    control, encoder = (
        _voxels(_plan(folders, name, 1.5, sizes=Sizes(features=16, blocks=1)))
        for name in ("residual_unet", "umamba_enc")
    )
    assert encoder < control


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_network_gets_plans_that_nnunet_reads_and_builds(folders: Folders, network: str):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    planned = _plan(folders, network, 6, sizes=Sizes(features=8))
    about = NETWORKS[network]
    names = [each.name for each in planned.configurations]
    assert names == (["2d", "3d_fullres"] if 3 in about.dims else ["2d"])
    manager = PlansManager(json.loads(planned.file.read_text()))
    for each in planned.configurations:
        configuration = manager.get_configuration(each.name)
        assert tuple(configuration.patch_size) == each.patch
        assert configuration.batch_size == each.batch
        assert configuration.network_arch_class_name == about.class_path
        assert configuration.pool_op_kernel_sizes[0] == [1] * len(each.patch)
        kwargs = configuration.network_arch_init_kwargs
        assert ("patch_size" in kwargs) == (network == "umamba_enc")
        if network == "umamba_enc":
            assert tuple(kwargs["patch_size"]) == each.patch
        if not about.staged:
            divisor = 2 ** (len(kwargs["strides"]) - (1 if network == "lightm_unet" else 2))
            divisor *= 1 if network == "lightm_unet" else 4
            assert all(edge % divisor == 0 for edge in each.patch)


def test_networks_share_preprocessed_data_unless_the_spacing_is_a_persons(folders: Folders):
    first, second = (_plan(folders, name, 6, sizes=Sizes(features=8)) for name in ("umamba_bot", "residual_unet"))
    third = _plan(folders, "umamba_bot", 6, sizes=Sizes(features=8), spacing=(2, 2, 2), plans_name="other")
    folder = [
        json.loads(each.file.read_text())["configurations"]["3d_fullres"]["data_identifier"]
        for each in (first, second, third)
    ]
    assert folder[0] == folder[1] != folder[2]


def test_sizes_make_it_smaller(folders: Folders):
    planned = _plan(folders, "umamba_bot", 8, sizes=Sizes(features=4, max_features=8, blocks=1, max_patch=32, batch=3))
    plans = json.loads(planned.file.read_text())["configurations"]["3d_fullres"]
    assert max(plans["patch_size"]) <= 32
    assert plans["batch_size"] == 3
    kwargs = plans["architecture"]["arch_kwargs"]
    assert kwargs["features_per_stage"][0] == 4
    assert max(kwargs["features_per_stage"]) == 8
    assert set(kwargs["n_conv_per_stage"]) == {1}
    assert plans["median_image_size_in_voxels"] == pytest.approx([96, 160, 160])


def test_lowres_is_planned_where_patches_cover_little_and_the_cascade_is_not(folders: Folders):
    planned = plan(902, "residual_unet", folders, memory_gb=2, say=lambda _: None)
    plans = json.loads(planned.file.read_text())["configurations"]
    assert "3d_lowres" in plans
    assert "3d_cascade_fullres" not in plans
    assert "next_stage" not in plans["3d_lowres"]


def test_one_dimension_alone_is_planned_where_the_other_would_not_fit(folders: Folders):
    sizes = Sizes(features=8, max_features=32, blocks=1, max_patch=32, batch=400)
    with pytest.raises(PlanError, match="A batch of 400 patches"):
        _plan(folders, "umamba_bot", 1, sizes=sizes, device="cpu")
    planned = _plan(folders, "umamba_bot", 1, sizes=sizes, device="cpu", dimension=2)
    assert [each.name for each in planned.configurations] == ["2d"]
    assert planned.configurations[0].batch == 400
    with pytest.raises(PlanError, match="VM-UNet exists in 2D, so it cannot be planned in 3D"):
        _plan(folders, "vm_unet", 8, dimension=3)
    with pytest.raises(PlanError, match="is one in 2D, not in 3D"):
        _plan(folders, "umamba_bot", 8, recipe=load_recipe("nuclei_2d"), dimension=3)


def test_too_little_memory_is_said(folders: Folders):
    with pytest.raises(PlanError, match="cannot be trained within"):
        _plan(folders, "umamba_bot", 0.75)
    with pytest.raises(PlanError, match="less than the device takes for itself"):
        _plan(folders, "umamba_bot", 0.1)
    with pytest.raises(PlanError, match="A batch of 5000"):
        _plan(folders, "umamba_bot", 4, sizes=Sizes(batch=5000, max_patch=32))


def test_sizes_that_make_no_sense_are_refused(folders: Folders):
    with pytest.raises(PlanError, match="'features' must be a whole number"):
        Sizes(features=0)
    with pytest.raises(PlanError, match="'max_patch' is 4"):
        Sizes(max_patch=4)
    with pytest.raises(PlanError, match="multiple of 8"):
        _plan(folders, "lightm_unet", 6, sizes=Sizes(features=12))
    with pytest.raises(PlanError, match="'max_features' has no meaning"):
        _plan(folders, "vm_unet", 6, sizes=Sizes(max_features=12))
    with pytest.raises(PlanError, match="no network 'unet'"):
        _plan(folders, "unet", 6)


def test_intensities_that_are_no_numbers_are_refused(folders: Folders):
    file = folders.preprocessed / NAME / "dataset_fingerprint.json"
    fingerprint = json.loads(file.read_text())
    fingerprint["foreground_intensity_properties_per_channel"]["0"]["mean"] = float("nan")
    file.write_text(json.dumps(fingerprint))
    with pytest.raises(DataError, match="holds NaN"):
        _plan(folders, "umamba_bot", 6)


def test_a_misnamed_case_in_the_annotations_is_refused(folders: Folders):
    file = folders.raw / NAME / "dataset.json"
    described = json.loads(file.read_text())
    # case_05, which is annotated in part too, is there: a test case
    described["mambaseg"] = {"annotated": {"case_05": ["left blob"], "case_99": ["left blob"]}}
    file.write_text(json.dumps(described))
    with pytest.raises(DataError, match="case_99"):
        _plan(folders, "umamba_bot", 6)


def test_a_recipes_settings_stand_in_the_plans_and_reach_the_trainer(folders: Folders):
    """The whole of what a source gives, for the control too; what a person asks for besides still counts."""
    from mambaseg_train.trainer.settings import Settings, override

    recipe = load_recipe("mamba_unet_acdc_2d")
    for network in ("mamba_unet", "residual_unet"):
        said: list[str] = []
        planned = plan(
            902, network, folders, memory_gb=40, sizes=Sizes(features=8, blocks=1), recipe=recipe, say=said.append
        )
        plans = json.loads(planned.file.read_text())
        assert list(plans["configurations"]) == ["2d"]  # the experiment's, and no other
        found = plans["configurations"]["2d"]
        settings = override(Settings(), plans)
        for name, value in recipe.known_training.items():
            assert value == (found["batch_size"] if name == "batch" else getattr(settings, name)), name
        # the paper resizes whole slices: the median image's have that size at this spacing
        assert [round(160 / spacing) for spacing in found["spacing"]] == [224, 224]
        assert max(found["patch_size"]) <= 224
        assert any("the paper resizes each picture to 224 x 224" in line for line in said)
    own = plan(
        902, "mamba_unet", folders, memory_gb=40, sizes=Sizes(features=8, blocks=1, batch=3), recipe=recipe, say=list
    )
    assert json.loads(own.file.read_text())["configurations"]["2d"]["batch_size"] == 3
    with pytest.raises(PlanError, match="'mamba_unet_acdc_2d' does not train 'umamba_bot'"):
        plan(902, "umamba_bot", folders, recipe=recipe, say=list)


def test_regions_and_the_ignore_label_have_no_heads_of_their_own(folders: Folders):
    from mambaseg_train.planning.planner import MambasegPlanner

    file = folders.raw / NAME / "dataset.json"
    described = json.loads(file.read_text())
    folders.use()
    for labels, heads in (
        ({"background": 0, "left blob": 1, "right blob": 2}, 3),
        ({"background": 0, "left blob": 1, "right blob": 2, "ignore": 3}, 3),
        ({"background": 0, "whole": [1, 2], "core": [2]}, 2),
        ({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, 2),
    ):
        file.write_text(json.dumps({**described, "labels": labels, "regions_class_order": [1, 2]}))
        assert MambasegPlanner(NAME, "umamba_bot", 4, "heads", Sizes()).heads == heads


def test_without_mixed_precision_more_memory_is_reckoned_with(folders: Folders):
    sizes = Sizes(features=8, blocks=1, max_patch=32, batch=2)
    mixed, full = (
        plan(902, "umamba_enc", folders, sizes=sizes, plans_name=name, lowres=False, amp=amp, say=lambda _: None)
        for name, amp in (("mixed", None), ("full", False))
    )
    half, whole = (json.loads(each.file.read_text()) for each in (mixed, full))
    assert whole["mambaseg"]["training"] == {"amp": False}
    samples = [each["configurations"]["3d_fullres"]["mambaseg"]["bytes_per_sample"] for each in (half, whole)]
    assert samples[1] > 1.15 * samples[0]
