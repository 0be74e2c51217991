"""Searching by words and modality; the model that took another's place hides it."""

from __future__ import annotations

import pytest

from UMambaSegmentLib.models import Channel, ModelCard, Structure, find_models, modalities

KIDNEYS = ModelCard(
    "kidneys",
    title="Nieren (Müller)",
    text="Both kidneys in contrast CT.",
    channels=(Channel("CT", "CT"),),
    structures=(Structure("left_kidney", meaning="Kidney, Left"), Structure("tumour")),
)
OLD = ModelCard("brain-1", title="Brain", state="to download", channels=(Channel("", "MR"),), superseded_by="brain-2")
BRAIN = ModelCard(
    "brain-2",
    title="Brain",
    state="to download",
    channels=(Channel("T1", "MR"), Channel("T2", "MR")),
    structures=(Structure("white_matter"), Structure("left_amygdala")),
)
CARDS = (KIDNEYS, OLD, BRAIN)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["kidneys", "brain-2"]),
        ("left kidney", ["kidneys"]),
        ("LEFT_KIDNEY", ["kidneys"]),
        ("kidney left", ["kidneys"]),
        ("kidn", ["kidneys"]),
        ("left", ["kidneys", "brain-2"]),
        ("left white", ["brain-2"]),
        ("muller", ["kidneys"]),
        ("MÜLLER", ["kidneys"]),
        ("contrast  ct", ["kidneys"]),
        ("liver", []),
        ("   ", ["kidneys", "brain-2"]),
        ("brain-2", ["brain-2"]),
        ("(", ["kidneys"]),
    ],
)
def test_words(query, ids):
    assert [card.id for card in find_models(CARDS, query)] == ids


def test_words_do_not_run_over_two_names():
    assert find_models(CARDS, "matterleft") == ()


def test_modality():
    assert [card.id for card in find_models(CARDS, modality="mr")] == ["brain-2"]
    assert find_models(CARDS, "kidney", "MR") == ()
    assert modalities(CARDS) == ("CT", "MR")


def test_superseded_when_asked():
    assert [card.id for card in find_models(CARDS, superseded=True)] == ["kidneys", "brain-1", "brain-2"]


def test_an_installed_one_stays_until_its_successor_is_here():
    here = ModelCard("brain-1", title="Brain", state="installed", superseded_by="brain-2")
    assert here in find_models((here, BRAIN))
    successor = ModelCard("brain-2", title="Brain", state="installed")
    assert find_models((here, successor)) == (successor,)
