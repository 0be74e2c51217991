"""The list of models: each once, with where it stands; what is damaged is listed with its problem and hides nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from models_tree import description, entry, put_catalogue, put_package

from mambaseg.defaults import DEMONSTRATION, PREFERRED
from mambaseg.models.spec import ModelSpec
from UMambaSegmentLib.models import Channel, disk_use, families, list_models
from UMambaSegmentLib.models.card import ModelCard, State
from UMambaSegmentLib.models.listing import default_of, downloads_use

MODULE = Path(__file__).resolve().parents[2] / "UMambaSegment"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def engine(tmp_path):
    put_catalogue(tmp_path / "engine")
    return tmp_path / "engine"


def test_the_real_bundled_models():
    cards = {card.id: card for card in list_models()}
    card = cards["demo-phantom"]
    assert card.state == "bundled"
    assert card.runnable
    assert card.structures[2].name == "right_parotid"
    assert card.structures[2].meaning == "Parotid gland, Right"
    assert card.structures[2].color == (110, 200, 120)
    assert card.channels == (Channel("CT", "CT"),)
    assert card.folds == ("0",)
    assert card.paired
    assert card.licence_path.is_file()
    assert card.card_path.is_file()
    assert len(card.figures) == 7
    assert not [one.id for one in cards.values() if one.problem]


def test_a_card_says_what_the_engine_reads():
    schema = pytest.importorskip("mambaseg.models.schema", reason="the engine is not on the path here")
    pytest.importorskip("fastjsonschema", reason="fastjsonschema, which checks descriptions, is not installed")
    spec = schema.spec_from_json(description(family="Abdomen", variant="Residual"))
    assert isinstance(spec, ModelSpec)
    assert (spec.family, spec.variant) == ("Abdomen", "Residual")
    assert schema.spec_from_json(schema.spec_to_json(spec)) == spec


def test_family_and_variant_in_the_real_catalogue_schema(tmp_path):
    pytest.importorskip("fastjsonschema", reason="fastjsonschema, which checks descriptions, is not installed")
    from mambaseg.models.catalogue import load_catalogue

    put_catalogue(tmp_path, entry("hearts", family="Heart", variant="U-Mamba"))
    assert load_catalogue(tmp_path / "catalogue.json").entries[0].family == "Heart"


def test_states_and_order(home, engine):
    put_package(home / "models", "own", title="Zebra")
    put_package(engine / "bundled", "ours", title="Ant")
    put_catalogue(engine, entry("theirs"))
    cards = list_models(home, engine)
    assert [(card.id, card.state) for card in cards] == [
        ("own", "installed"),
        ("ours", "bundled"),
        ("theirs", "to download"),
    ]
    own, _, theirs = cards
    assert own.folder == home / "models" / "own"
    assert own.bytes == sum(path.stat().st_size for path in own.folder.iterdir())
    assert (own.spacing, own.patch, own.mirror_axes) == ((2.5, 0.8, 0.8), (16, 32, 32), (0,))
    assert own.figures[0].control == 0.92
    assert theirs.bytes == 123_000_000
    assert theirs.modalities == ("MR",)
    assert [one.name for one in theirs.structures] == ["left_atrium", "left_ventricle"]
    assert not theirs.runnable


def test_the_installed_one_comes_before_the_bundled_one_as_in_the_engine(home, engine):
    put_package(home / "models", "same", version="2.0.0")
    put_package(engine / "bundled", "same", version="1.0.0")
    (card,) = list_models(home, engine)
    assert (card.state, card.version) == ("installed", "2.0.0")


def test_the_catalogue_adds_update_and_successor(home, engine):
    put_package(home / "models", "kidneys")
    put_catalogue(engine, entry("kidneys", version="1.1.0", superseded_by="hearts"), entry("hearts"))
    card = list_models(home, engine)[0]
    assert (card.version, card.update, card.superseded_by) == ("1.0.0", "1.1.0", "hearts")
    assert card.title == "Kidneys in CT"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.json").write_text("{", encoding="utf-8"), "not valid JSON"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\xfa"), "not valid JSON"),
        (lambda folder: (folder / "model.json").write_text("[" * 100_000, encoding="utf-8"), "not valid JSON"),
        (lambda folder: (folder / "model.json").write_text("[]", encoding="utf-8"), "holds no description"),
        (lambda folder: (folder / "model.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "fold_0.safetensors").unlink(), "'fold_0.safetensors' is missing"),
        (lambda folder: (folder / "fold_0.safetensors").write_bytes(b"\0" * 99), "size"),
        (lambda folder: (folder / "LICENSE").unlink(), "'LICENSE' is missing"),
    ],
)
def test_a_damaged_model_is_listed_with_its_problem(home, engine, damage, words):
    damage(put_package(home / "models", "broken"))
    put_package(home / "models", "whole")
    cards = {card.id: card for card in list_models(home, engine)}
    assert cards["whole"].runnable
    assert cards["broken"].state == "damaged"
    assert not cards["broken"].runnable
    assert words in cards["broken"].problem
    assert cards["broken"].problem.endswith(".")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 2}, "newer version"),
        ({"schema_version": "x"}, "how to read it"),
        ({"labels": []}, "'labels'"),
        ({"weights": [{"fold": "0", "file": "../../x", "bytes": 1}]}, "missing"),
    ],
)
def test_a_model_that_says_nonsense(home, engine, changes, words):
    put_package(home / "models", "odd", **changes)
    (card,) = list_models(home, engine)
    assert words in card.problem


def test_wrong_kinds_of_values_are_passed_over(home, engine):
    strange = {
        "labels": [{"name": "a", "value": "x", "color": [1, "b", 3]}, 7, {"value": 1}],
        "figures": [{"value": None}, {"metric": "Dice", "value": 0.5, "structure": 3}, "x"],
        "spacing": ["a", 1.0],
        "text": 5,
        "channels": {"role": "CT"},
        "network": [1],
        "paired_labels": None,
    }
    put_package(home / "models", "strange", **strange)
    (card,) = list_models(home, engine)
    assert [one.name for one in card.structures] == ["a"]
    assert card.structures[0].color is None
    assert [one.value for one in card.figures] == [0.5]
    assert card.text == ""
    assert card.channels == ()


def test_a_damaged_catalogue_is_told_and_hides_nothing(home, engine):
    put_package(home / "models", "own")
    (engine / "catalogue.json").write_text("no", encoding="utf-8")
    cards = list_models(home, engine)
    assert [card.id for card in cards] == ["own", "catalogue"]
    assert "Reinstall" in cards[1].problem


def test_hidden_folders_and_files_are_no_models(home, engine):
    put_package(home / "models", ".kidneys.1234.old")
    (home / "models" / ".downloads").mkdir()
    (home / "models" / ".downloads" / "x.part").write_bytes(b"12345")
    (home / "models" / "notes.txt").write_text("x", encoding="utf-8")
    assert list_models(home, engine) == ()
    assert downloads_use(home) == 5
    assert disk_use(home) > 105


def test_no_home_yet(home, engine):
    assert list_models(home, engine) == ()
    assert disk_use(home) == 0


def test_families_gather_architectures(home, engine):
    put_package(home / "models", "a", family="Kidneys", variant="U-Mamba Bot")
    put_catalogue(
        engine,
        entry("b", family="Kidneys", variant="U-Mamba Enc"),
        entry("c", family="Kidneys", variant="U-Mamba Enc"),
        entry("d"),
    )
    kidneys, hearts = families(list_models(home, engine))
    assert kidneys.title == "Kidneys"
    assert kidneys.preferred.id == "a"
    assert [name for name, _ in kidneys.variants()] == ["U-Mamba Bot", "U-Mamba Enc (b)", "U-Mamba Enc (c)"]
    assert hearts.title == "Hearts in MR"


def test_the_list_needs_nothing_that_a_fresh_slicer_lacks():
    lacking = ["fastjsonschema", "safetensors", "click", "tqdm", "torch", "numba"]
    code = (
        f"import sys\nsys.path.append(sys.argv[1])\nsys.modules.update(dict.fromkeys({[*lacking, 'slicer', 'qt']}))\n"
        "from UMambaSegmentLib.models import list_models, card_html\n"
        "print(json.dumps([card.id for card in list_models() if card_html(card)]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}", str(MODULE)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "demo-phantom" in json.loads(ran.stdout)


def test_which_model_is_chosen_unasked():
    def card(name: str, state: State = "bundled", problem: str = "") -> ModelCard:
        return ModelCard(name, title=name, state="damaged" if problem else state, problem=problem)

    demonstration, preferred, other = card(DEMONSTRATION), card(PREFERRED), card("cells-nuclei")
    own = card("own", "installed")
    assert default_of([other, preferred, demonstration]) == preferred
    assert default_of([own, other, preferred]) == own
    assert default_of([card(PREFERRED, problem="broken"), other]) == other
    assert default_of([demonstration]) is None
    assert default_of([]) is None
