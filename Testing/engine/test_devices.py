"""Cards that torch lists and has no code for are not taken, and people are told why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg import scan
from mambaseg.cards import TorchCards, refused_cards, runs_on
from mambaseg.devices import available_devices, choose_device, device_notes
from mambaseg.doctor import diagnose
from mambaseg.errors import ResourceError

# what PyTorch's own builds are compiled for
CUDA_12_6 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CUDA_13_0 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
GTX_1080, V100, T4, A100, L4, H200, RTX_5090 = (6, 1), (7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)


@dataclass(frozen=True)
class Shelf:
    """Cards by name and compute capability, and a torch that was compiled for these architectures."""

    held: tuple[tuple[str, tuple[int, int]], ...]
    compiled: Sequence[str]

    def count(self) -> int:
        return len(self.held)

    def name(self, index: int) -> str:
        return self.held[index][0]

    def capability(self, index: int) -> tuple[int, int]:
        return self.held[index][1]

    def architectures(self) -> Sequence[str]:
        return self.compiled


OLD, NEW = ("GTX 1080", GTX_1080), ("H200", H200)


@pytest.mark.parametrize("card", [GTX_1080, V100, T4, A100, L4, H200])
def test_a_build_for_an_older_cuda_runs_on_these(card: tuple[int, int]):
    assert any(runs_on(name, card) for name in CUDA_12_6)


@pytest.mark.parametrize("card", [T4, A100, L4, H200, RTX_5090, (10, 3), (13, 0)])
def test_a_build_for_a_newer_cuda_runs_on_these(card: tuple[int, int]):
    assert any(runs_on(name, card) for name in CUDA_13_0)


@pytest.mark.parametrize(
    ("card", "built"), [(GTX_1080, CUDA_13_0), (V100, CUDA_13_0), (RTX_5090, CUDA_12_6), ((5, 0), CUDA_13_0)]
)
def test_but_not_on_those(card: tuple[int, int], built: tuple[str, ...]):
    assert not any(runs_on(name, card) for name in built)


def test_the_rules_of_compiled_and_of_intermediate_code():
    assert runs_on("sm_80", (8, 6))
    assert not runs_on("sm_86", (8, 0)), "a lower minor number"
    assert not runs_on("sm_80", (9, 0)), "another major"
    assert runs_on("compute_80", (9, 0))
    assert not runs_on("compute_90", (8, 9))
    assert runs_on("sm_90a", (9, 0))
    assert not runs_on("sm_100a", (10, 3)), "for that one alone"
    assert not runs_on("compute_100a", (12, 0)), "for that one alone"
    assert runs_on("sm_100f", (10, 3))
    assert not runs_on("sm_100f", (12, 0)), "for its family alone"
    assert not runs_on("sm_87", (8, 9)), "a board's code runs on the board alone"
    assert runs_on("sm_87", (8, 7))
    assert not runs_on("sm_86", (8, 7)), "nor does another card's on the board"
    assert runs_on("compute_80", (8, 7))
    assert runs_on("sm_101", (11, 0)), "the same board by its later name"
    assert runs_on("gfx1030", (10, 3)), "what is not read is not judged"


def test_a_card_without_code_is_passed_over_and_told_of():
    shelf = Shelf((OLD, NEW), CUDA_13_0)
    assert [name for name in available_devices(shelf) if name != "mps"] == ["cuda:1", "cpu"]
    assert choose_device("auto", shelf).type == "cuda"
    assert choose_device("auto", shelf).index == 1
    (note,) = device_notes("auto", shelf)
    assert note.startswith("The card GTX 1080 (cuda:0, compute capability 6.1) is not used, because PyTorch ")
    assert "holds no code for it (sm_75, sm_80" in note
    assert "Install a build of PyTorch for an older CUDA (12.6)." in note
    assert device_notes("cuda:1", shelf) == [], "nothing was passed over"
    assert refused_cards(shelf) == {"cuda:0": note}


def test_a_card_that_is_newer_than_torch_wants_a_newer_one():
    shelf = Shelf((("RTX 5090", RTX_5090),), CUDA_12_6)
    (note,) = device_notes("auto", shelf)
    assert "Install a newer PyTorch." in note
    assert "cuda:0" not in available_devices(shelf)


@pytest.mark.parametrize(
    ("card", "built", "said"),
    [
        ((3, 5), CUDA_12_6, "It is too old for any current build."),
        ((8, 0), ("sm_90",), "Install a build of PyTorch that has it."),
        ((11, 0), ("sm_90", "sm_100", "sm_120"), "Install a build of PyTorch that has it."),
    ],
)
def test_no_build_is_named_that_has_no_code_for_the_card_either(
    card: tuple[int, int], built: tuple[str, ...], said: str
):
    (note,) = device_notes("auto", Shelf((("A card", card),), built))
    assert said in note


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_card_without_code_that_is_named_is_refused_and_not_replaced(name: str):
    with pytest.raises(ResourceError, match=r"GTX 1080 .* holds no code for it .* choose one of cuda:1, .*cpu, or"):
        choose_device(name, Shelf((OLD, NEW), CUDA_13_0))


def test_a_device_that_is_not_here_is_said_to_be_so():
    with pytest.raises(ResourceError, match="no device 'cuda:2'"):
        choose_device("cuda:2", Shelf((OLD, NEW), CUDA_13_0))


@pytest.mark.parametrize("built", [(), ("gfx90a", "gfx1100")])
def test_where_torch_does_not_tell_a_card_is_taken(built: tuple[str, ...]):
    shelf = Shelf((OLD,), built)
    assert refused_cards(shelf) == {}
    assert str(choose_device("cuda", shelf)) == "cuda:0"


def test_the_cpu_is_taken_without_a_look_at_cards():
    class Nobody:
        def count(self) -> int:
            raise AssertionError("cards were asked for")

        name = capability = architectures = count

    assert choose_device("cpu", Nobody()).type == "cpu"  # type: ignore[arg-type]


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch) -> str:
    """This computer has a card that its torch holds no code for; the sentence that says so."""
    shelf = Shelf((OLD,), CUDA_13_0)
    for name in ("count", "name", "capability", "architectures"):
        monkeypatch.setattr(TorchCards, name, getattr(shelf, name))
    return refused_cards(shelf)["cuda:0"]


def test_a_run_goes_past_such_a_card_and_says_so(old_card: str):
    model, volume = make_model(make_spec()), make_volume(smooth_image((24, 28, 20)))
    unasked = mambaseg.Options(device="auto")
    result = mambaseg.segment(volume, model, unasked)
    assert old_card in result.report["notes"]
    assert "GTX" not in result.report["device"]
    assert old_card in mambaseg.forecast(volume, model, unasked).plan
    named = mambaseg.Options(device="cpu")
    assert old_card not in mambaseg.segment(volume, model, named).report["notes"]
    assert old_card not in mambaseg.forecast(volume, model, named).plan
    with pytest.raises(ResourceError, match="holds no code for it"):
        mambaseg.segment(volume, model, mambaseg.Options(device="cuda"))


def test_the_diagnosis_names_such_a_card(old_card: str):
    found = diagnose()
    assert old_card in found.text()
    assert found.ok, "a computer that runs on its CPU is no broken one"


def test_the_scan_takes_no_such_card_by_itself(old_card: str, monkeypatch: pytest.MonkeyPatch):
    assert old_card
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as torch has it with such a card
    assert scan.available_backends() == scan.available_backends("cpu")


def test_the_cards_of_this_computer():
    cards = TorchCards()
    found = [f"cuda:{index}" for index in range(cards.count())]
    refused = refused_cards(cards)
    assert set(refused) <= set(found)
    assert [name for name in available_devices() if name.startswith("cuda")] == [n for n in found if n not in refused]
