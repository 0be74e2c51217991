"""``model.json``: every field survives the round trip, and each fault is one sentence that names its key."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mambaseg.errors import ModelError
from mambaseg.models.checks import NETWORK_NAMES
from mambaseg.models.schema import spec_from_json, spec_to_json
from mambaseg.models.spec import (
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

LEFT = Code("SCT", "7771000", "Left")
KIDNEY = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "64033007", "Kidney"), LEFT)
FULL = ModelSpec(
    id="demo-model",
    version="1.2.0",
    title="A demo",
    text="Two kidneys.",
    network=NetworkSpec("residual_unet", 3, 2, 3, {"patch_size": [16, 16, 16], "n_stages": 2}),
    patch_size=(16, 16, 16),
    spacing=(2.5, 1.0, 1.0),
    channels=(Channel("CT", "CT"), Channel("T1", "MR")),
    normalisation=(Normalisation("ct", 10.0, 5.0, -100.0, 200.0), Normalisation("zscore", use_mask=True)),
    labels=(Label("left kidney", 1, (1, 2, 3), KIDNEY), Label("right kidney", 300, (255, 0, 9))),
    orientation="RAS",
    axes=(2, 0, 1),
    resampling=Resampling(True, 3, 1, 1, 0, "always"),
    mirror_axes=(0, 1),
    paired_labels=((1, 300),),
    keep_largest=("right kidney",),
    trained_on="phantoms",
    tested_on="other phantoms",
    figures=(Figure("Dice", "left kidney", 0.9, 0.02, 0.89, 12), Figure("HD95", "left kidney", 2.5, unit="mm")),
    licence="Apache-2.0",
    citation="Nobody 2024",
    weights=(WeightsFile("all", "fold_all.safetensors", "a" * 64, 123),),
    source={"trainer": "x", "folds": [1, 2]},
)


def test_every_field_survives_the_round_trip() -> None:
    text = json.dumps(spec_to_json(FULL))
    assert spec_from_json(json.loads(text)) == FULL


def test_regions_and_resize_survive_the_round_trip() -> None:
    spec = replace(
        FULL,
        network=NetworkSpec("vm_unet", 2, 3, 2),
        patch_size=(224, 224),
        spacing=(1.0, 1.0),
        channels=(Channel("CT", "CT"),),
        normalisation=(Normalisation("window_0_1", lower=-1.0, upper=1.0),),
        input_mode="resize",
        resize=Resize(3, True, "labels"),
        regions=Regions(((1, 300), (300,)), (1, 300)),
    )
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_network_names_are_those_of_the_networks() -> None:
    from mambaseg import networks

    assert set(NETWORK_NAMES) == set(networks.names())


REQUIRED = [
    *("schema_version", "id", "version", "title", "network", "patch_size"),
    *("spacing", "channels", "normalisation", "labels", "weights"),
]


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(key: str) -> None:
    value = spec_to_json(FULL)
    del value[key]
    with pytest.raises(ModelError, match=f"'{key}'"):
        spec_from_json(value)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, new = path

    def change(value: dict[str, Any]) -> None:
        at: Any = value
        for step in way:
            at = at[step]
        at[last] = new

    return change


FAULTS = [
    (_set("network", "name", "transformer"), "'transformer' is not known.*umamba_bot"),
    (_set("network", "surprise", 1), "'surprise' in 'network' is not known"),
    (_set("network", "in_channels", 3), "'channels' has 2 entries, but the network takes 3"),
    (_set("network", "num_classes", 7), "7 output channels, but there are 2 labels"),
    (_set("network", "spatial_dims", 4), "'network.spatial_dims' is 4"),
    (_set("patch_size", [16, 16, 32]), "the network was built for"),
    (_set("spacing", [1.0, 1.0]), "'spacing' has 2 entries"),
    (_set("spacing", [1.0, 0.0, 1.0]), "'spacing.1' is 0.0, but it must be above 0"),
    (_set("normalisation", [{"scheme": "ct"}]), "'normalisation' has 1 entries"),
    (_set("normalisation", 0, {"scheme": "ct", "mean": 1.0}), "'normalisation.0'.*needs the number 'std'"),
    (_set("normalisation", 0, {"scheme": "cubic"}), "'normalisation.0.scheme'.*must be one of ct"),
    (_set("normalisation", 0, "lower", 900), "lower bound 900 is not below"),
    (_set("labels", 1, "value", 1), "'labels' has 1 twice"),
    (_set("labels", 1, "name", "left kidney"), "'labels' has 'left kidney' twice"),
    (_set("labels", 1, "value", 65536), "'labels.1.value' is 65536, but it must be at most 65535"),
    (_set("labels", 1, "value", 0), "'labels.1.value' is 0"),
    (_set("labels", 0, "color", [1, 2]), "'labels.0.color'.*at least 3"),
    (
        _set("labels", 0, "terminology", "type", {"scheme": "SCT", "value": "1"}),
        "'meaning' is missing in 'labels.0.term",
    ),
    (_set("mirror_axes", [0, 0]), "'mirror_axes'"),
    (_set("axes", [0, 0, 1]), "'axes'"),
    (_set("orientation", "LLS"), "orientation 'LLS'"),
    (_set("paired_labels", [[1, 9]]), "'paired_labels'"),
    (_set("keep_largest", ["liver"]), "'keep_largest' has 'liver'"),
    (_set("regions", {"members": [[1]], "class_order": [1]}), "'regions' has 1 members"),
    (_set("regions", {"members": [[1], [1], [1]], "class_order": [1, 2, 300]}), "paints the value 2"),
    (_set("weights", 0, "sha256", "A" * 64), "'weights.0.sha256'"),
    (_set("weights", []), "'weights'.*at least 1"),
    (_set("id", "../evil"), "'id' is"),
    (_set("input_mode", "resize"), "'resize' is for two-dimensional"),
    (_set("title", 3), "'title' is 3, but it must be of type string"),
    (_set("schema_version", 2), "newer version of mambaseg.*[Uu]pdate"),
    (_set("schema_version", 0), "schema version 0"),
    (_set("schema_version", "1"), "whole number"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_a_fault_is_a_sentence_that_names_the_key(change: Callable[[dict[str, Any]], None], words: str) -> None:
    value = copy.deepcopy(spec_to_json(FULL))
    change(value)
    with pytest.raises(ModelError, match=words) as caught:
        spec_from_json(value)
    assert str(caught.value).rstrip().endswith((".", ")"))
