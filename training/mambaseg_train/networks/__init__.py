"""Our networks in the form in which nnU-Net builds a network from its plans.

Each module holds one class whose constructor takes ``input_channels``, ``num_classes``, ``deep_supervision`` and the
plans' ``arch_kwargs``, and whose ``decoder.deep_supervision`` can be set. They are the engine's own classes, so the
state_dict has the published keys and a checkpoint imports as it is. `traits` says of each what planning and training
must know, without importing torch.
"""

from __future__ import annotations

from mambaseg_train.networks.traits import NETWORKS, Traits, traits

__all__ = ["NETWORKS", "Traits", "traits"]
