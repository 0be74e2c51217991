"""One of several processes that share a batch; run by test_trainers_gloo.py.

nnU-Net's trainer ties its multi-GPU run to CUDA, so network, loss and hook are put together here as the trainer
does it: with deep supervision, whose coarsest output gets next to no weight (with none at all, DDP would not average).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PATCH = (16, 16)
CASES = tuple(f"case_{number}" for number in range(4))


def make_network(name: str) -> nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    from mambaseg_train.networks.traits import traits
    from mambaseg_train.planning.architecture import Topology, draw
    from mambaseg_train.planning.sizes import Sizes

    steps = ((1, 1), (2, 2), (2, 2))
    found = draw(name, Topology(PATCH, ((3, 3),) * 3, steps), Sizes(features=8, blocks=1))
    arguments = {**found.arguments, **({"drop_path_rate": 0.0} if "drop_path_rate" in found.arguments else {})}
    torch.manual_seed(1)
    about = traits(name)
    network: nn.Module = get_network_from_plans(
        about.class_path, arguments, [], 1, 3, deep_supervision=about.deep_supervision
    )
    return network


def make_loss(name: str, world: int) -> nn.Module:
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    from mambaseg_train.networks.traits import traits

    soft = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": world > 1}
    plain: nn.Module = DC_and_CE_loss(soft, {}, dice_class=MemoryEfficientSoftDiceLoss)
    return DeepSupervisionWrapper(plain, [1.0, 1e-6]) if traits(name).deep_supervision else plain


def fixed_batch(name: str) -> tuple[Tensor, list[Tensor]]:
    """Images and labels, fine and coarse."""
    from mambaseg_train.networks.traits import traits

    torch.manual_seed(2)
    image, target = torch.randn(4, 1, *PATCH), torch.randint(0, 3, (4, 1, *PATCH))
    return image, [target, target[..., ::2, ::2].clone()][: 2 if traits(name).deep_supervision else 1]


def gradients(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """Gradients of this process's share of one fixed batch of four; DDP averages them where there are peers."""
    from mambaseg_train.labels.description import describe
    from mambaseg_train.labels.partial import PartialLabels

    network = make_network(name)
    own = {"labels": {"background": 0, "a": 1, "b": 2}, "mambaseg": {"annotated": {"case_2": ["a"]}}}
    partial = PartialLabels(describe(own))
    loss = make_loss(name, world)
    image, targets = fixed_batch(name)
    share = slice(rank * 4 // world, (rank + 1) * 4 // world)
    running: Any = nn.parallel.DistributedDataParallel(network) if world > 1 else network
    partial.attach(running)
    mine = [each[share] for each in targets]
    partial.begin(CASES[share], mine)
    loss(running(image[share]), mine if len(mine) > 1 else mine[0]).backward()
    # without a gradient in every weight DDP would wait for ever, or leave one unaveraged
    assert all(value.grad is not None for value in network.parameters())
    return {key: value.grad.clone() for key, value in network.named_parameters() if value.grad is not None}


class OneNetwork(nn.Module):
    """A single weight, for a trainer's step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def steps(rank: int) -> dict[str, Any]:
    """Two steps of our trainer's own ``train_step``; in the first, only process 1 sees a loss that is not finite."""
    from types import SimpleNamespace

    from mambaseg_train.labels.description import describe
    from mambaseg_train.labels.partial import PartialLabels
    from mambaseg_train.trainer.base import MambasegTrainer
    from mambaseg_train.trainer.guard import StepGuard

    trainer: Any = MambasegTrainer.__new__(MambasegTrainer)
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    trainer.network = nn.parallel.DistributedDataParallel(OneNetwork())
    trainer.loss = lambda output, target: (output - target).square().mean()
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    trainer.settings = SimpleNamespace(amp=False, bfloat16=False, clip=12.0)
    trainer.configuration_manager = SimpleNamespace(patch_size=(1, 1))
    trainer.guard = StepGuard(2)
    trainer.partial = PartialLabels(describe({"labels": {"background": 0, "a": 1}}))
    weights = []
    for bad in (True, False):
        value = float("nan") if bad and rank == 1 else 1.0 + rank
        shape = (2, 1, 1, 1)
        batch = {"data": torch.full(shape, value), "target": torch.zeros(shape), "keys": ["x", "y"]}
        trainer.train_step(batch)
        weights.append(float(trainer.network.module.weight))
    return {"weights": weights, "skipped": trainer.guard.skipped}


def work(rank: int, world: int, names: str, folder: str) -> None:
    torch.set_num_threads(1)
    store = (Path(folder) / "store").as_uri()
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    for name in json.loads(names):
        torch.save(gradients(name, rank, world), Path(folder) / f"{name}_{rank}.pt")
    (Path(folder) / f"steps_{rank}.json").write_text(json.dumps(steps(rank)))
    torch.distributed.destroy_process_group()
