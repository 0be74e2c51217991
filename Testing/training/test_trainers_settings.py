"""Each paper's settings, what a person may override, and steps without finite numbers."""

from __future__ import annotations

import math

import pytest
import torch

from mambaseg_train.errors import RunError
from mambaseg_train.networks.traits import NETWORKS
from mambaseg_train.run.trainers import load_trainer
from mambaseg_train.trainer.guard import StepGuard, check_weights
from mambaseg_train.trainer.optimizers import CosineSchedule, make_optimizer, make_schedule
from mambaseg_train.trainer.settings import Settings, override, to_environment


@pytest.mark.parametrize("network", list(NETWORKS))
def test_each_network_has_a_trainer_of_its_own(network: str):
    about = NETWORKS[network]
    found = load_trainer(about.trainer)
    assert found.__name__ == about.trainer
    assert found.network_name == network
    assert found.paper.amp == about.half_precision
    assert found.paper.deep_supervision == about.deep_supervision
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(2))], found.paper)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [each for each in optimizer.state_dict()["state"][0].values() if torch.is_tensor(each) and each.numel() == 2]
    assert len(kept) == about.optimizer_slots


def test_the_papers_numbers():
    bot, light, vision, swin = (
        load_trainer(NETWORKS[name].trainer).paper for name in ("umamba_bot", "lightm_unet", "vm_unet", "mamba_unet")
    )
    assert (bot.optimizer, bot.lr, bot.momentum, bot.weight_decay, bot.epochs) == ("sgd", 1e-2, 0.99, 3e-5, 1000)
    assert (light.optimizer, light.lr, light.eps, light.epochs, light.clip) == ("adam", 1e-4, 1e-5, 100, 12)
    assert (vision.optimizer, vision.lr, vision.weight_decay, vision.lr_end) == ("adamw", 1e-3, 1e-2, 1e-5)
    assert (swin.momentum, swin.weight_decay, swin.epochs * swin.iterations) == (0.9, 1e-4, 10_000)
    assert (swin.dice_weight, swin.ce_weight) == (0.5, 0.5)
    assert not load_trainer("nnUNetTrainerUMambaEncNoAMP").paper.amp


def test_the_cosine_schedule_is_torchs():
    parameter = torch.nn.Parameter(torch.zeros(1))
    ours, theirs = (torch.optim.AdamW([parameter], lr=1e-3) for _ in range(2))
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=50, eta_min=1e-5)
    schedule = CosineSchedule(ours, 1e-3, 1e-5, 50)
    for epoch in range(120):
        schedule.step(epoch)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6)
        theirs.step()
        reference.step()


def test_the_polynomial_schedule_ends_at_the_last_epoch():
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], Settings(epochs=10))
    schedule = make_schedule(optimizer, Settings(epochs=10))
    schedule.step(9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.1**0.9)


def test_the_polynomial_schedule_restarts_at_half_the_rate_with_an_optimiser_as_new():
    settings = Settings(optimizer="adamw", lr=3e-3, epochs=14, restart=8)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([parameter], settings)
    schedule = make_schedule(optimizer, settings)
    rates, remembered = [], []
    for epoch in range(14):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
        remembered.append(bool(optimizer.state))
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    once = make_schedule(optimizer, Settings(lr=3e-3, epochs=8))
    for epoch in range(8):
        once.step(epoch)
        assert rates[epoch] == pytest.approx(optimizer.param_groups[0]["lr"])
    assert rates[8:] == pytest.approx([1.5e-3 * (1 - epoch / 6) ** 0.9 for epoch in range(6)])
    assert [epoch for epoch, there in enumerate(remembered) if not there] == [0, 8]


@pytest.mark.parametrize("wrong", [{"restart": 10}, {"restart": 12}, {"restart": 5, "schedule": "cosine"}])
def test_a_restart_that_cannot_be_is_refused(wrong: dict[str, object]):
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], Settings())
    with pytest.raises(RunError, match="A restart after"):
        make_schedule(optimizer, Settings(**{"epochs": 10, **wrong}))


def test_overrides_from_plans_and_environment(monkeypatch: pytest.MonkeyPatch):
    plans = {"mambaseg": {"training": {"epochs": 7, "lr": 0.5}}}
    monkeypatch.setenv("MAMBASEG_EPOCHS", "3")
    monkeypatch.setenv("MAMBASEG_AMP", "0")
    found = override(Settings(), plans)
    assert (found.epochs, found.lr, found.amp) == (3, 0.5, False)
    assert override(Settings(), {}).iterations == 250
    assert to_environment({"epochs": 2, "lr": None, "amp": False}) == {"MAMBASEG_EPOCHS": "2", "MAMBASEG_AMP": "False"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("EPOCHS", "0"), ("EPOCHS", "2.5"), ("LR", "fast"), ("LR", "nan"), ("AMP", "maybe"), ("OPTIMIZER", "lion")],
)
def test_overrides_that_make_no_sense_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"MAMBASEG_{name}", value)
    with pytest.raises(RunError, match=f"MAMBASEG_{name} must be"):
        override(Settings(), {})


def test_unknown_settings_are_named():
    with pytest.raises(RunError, match="'speed' is not known"):
        override(Settings(), {"mambaseg": {"training": {"speed": 1}}})
    with pytest.raises(RunError, match="no training setting 'speed'"):
        to_environment({"speed": 1})


def test_bad_steps_are_counted_and_too_many_in_a_row_end_it():
    guard = StepGuard(3)
    for _ in range(3):
        guard.bad("loss")
    guard.good()
    for _ in range(3):
        guard.bad("gradient")
    assert guard.skipped == 6
    with pytest.raises(RunError, match="gradient was not a finite number in 4 steps in a row"):
        guard.bad("gradient")


def test_weights_that_are_no_numbers_are_named():
    network = torch.nn.Linear(2, 2)
    check_weights(network)
    with torch.no_grad():
        network.bias[0] = math.inf
    with pytest.raises(RunError, match="'bias' are no longer finite"):
        check_weights(network)


def test_an_unknown_trainer_is_named(monkeypatch: pytest.MonkeyPatch):
    import nnunetv2.utilities.find_objects as search

    def nothing(_name: str) -> None:
        raise RuntimeError("Could not find requested nnunet trainer")

    monkeypatch.setattr(search, "recursive_find_trainer_class_by_name", nothing)
    with pytest.raises(RunError, match="no trainer 'nnUNetTrainerNone'"):
        load_trainer("nnUNetTrainerNone")
