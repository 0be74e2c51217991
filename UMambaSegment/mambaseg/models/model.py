"""A model ready for use: its description, and the weights of each fold loaded strictly into the network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from mambaseg.errors import ModelError
from mambaseg.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mambaseg.models.package import Package

_SHOWN = 6


class Weights(Protocol):
    """Where a model's weights come from."""

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        """One fold's weights, published keys to tensors on the CPU."""
        ...

    def sha256(self, fold: str) -> str:
        """SHA-256 of the file the fold's weights are from."""
        ...


class MemoryWeights:
    """Weights held in memory, as an importer read them from checkpoint files.

    Parameters
    ----------
    states
        Fold name to state_dict.
    hashes
        Fold name to the SHA-256 of the checkpoint file.
    """

    def __init__(self, states: Mapping[str, Mapping[str, torch.Tensor]], hashes: Mapping[str, str]) -> None:
        self._states = {fold: dict(state) for fold, state in states.items()}
        self._hashes = dict(hashes)

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        """One fold's weights."""
        return dict(self._states[fold])

    def sha256(self, fold: str) -> str:
        """SHA-256 of the fold's checkpoint file."""
        return self._hashes[fold]


class Model:
    """What `load_model` gives: a checked description and strict access to the weights.

    Attributes
    ----------
    spec
        Everything ``model.json`` says.
    card
        The model card (Markdown).
    licence_text
        The whole licence.
    origin
        The folder or file it is from, for reports.
    """

    def __init__(
        self, spec: ModelSpec, weights: Weights, card: str = "", licence_text: str = "", origin: str = ""
    ) -> None:
        self.spec = spec
        self.card = card
        self.licence_text = licence_text
        self.origin = origin
        self._weights = weights

    def __repr__(self) -> str:
        return f"Model({self.spec.id!r}, version={self.spec.version!r}, folds={list(self.folds)})"

    @classmethod
    def from_package(cls, package: Package) -> Model:
        """Make a model whose weights are read from a package when asked for."""
        return cls(package.spec, package, package.card, package.licence_text, os.fspath(package.place))

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds whose weights are here."""
        return self.spec.folds

    def _known(self, fold: str) -> str:
        if fold not in self.folds:
            raise ModelError(f"The model '{self.spec.id}' has no fold '{fold}'. It has: {', '.join(self.folds)}.")
        return fold

    def weights_sha256(self, fold: str) -> str:
        """SHA-256 (lower-case hex) of the file that a fold's weights are from.

        That is the package's safetensors file; for a checkpoint imported in memory, the checkpoint file
        (``spec.source["sha256_of"]`` says which).
        """
        return self._weights.sha256(self._known(fold))

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        """One fold's weights with the published keys, aliases included, on the CPU.

        Raises
        ------
        ModelError
            If there is no such fold, or its file is truncated, altered or damaged.
        """
        return self._weights.state_dict(self._known(fold))

    def build_network(self, fold: str | None = None, device: torch.device | str = "cpu", **settings: Any) -> nn.Module:
        """Give the network with one fold's weights, in evaluation mode.

        Parameters
        ----------
        fold
            Name of the fold; the first one if None.
        device
            Where the network is to be.
        settings
            Further arguments of ``mambaseg.networks.build`` (``deep_supervision=True``, say).

        Raises
        ------
        ModelError
            If the network cannot be built with the package's architecture, or the weights do not fit key for key.
        """
        import torch

        from mambaseg import networks

        network = self.spec.network
        arguments: dict[str, Any] = {**network.architecture, **settings}

        def build() -> nn.Module:
            return networks.build(
                network.name,
                spatial_dims=network.spatial_dims,
                in_channels=network.in_channels,
                num_classes=network.num_classes,
                **arguments,
            )

        name, state = self._weights_of(fold)
        try:
            with torch.device("meta"):  # nothing is allocated for a network that the weights do not fit
                planned = build()
            check_fit(planned, state, name)
            # initial values, which take long to draw, would only be replaced by the weights
            built = planned.to_empty(device="cpu") if _is_all_weights(planned) else build()
        except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise ModelError(
                f"The network '{network.name}' of the model '{self.spec.id}' cannot be built as described ({error}). "
                "Get the model again, or update mambaseg."
            ) from error
        load_strictly(built, state, name)
        return built.to(device).eval()

    def load_into(self, network: nn.Module, fold: str | None = None) -> None:
        """Put one fold's weights into a network that is there already, strictly (the first fold if None).

        Raises
        ------
        ModelError
            Naming what is missing, left over, of another shape, or not finite.
        """
        name, state = self._weights_of(fold)
        load_strictly(network, state, name)

    def check_loads(self) -> None:
        """Build the network and load every fold into it, so that what cannot be used is told before it is installed.

        Raises
        ------
        ModelError
            If the network cannot be built, or a fold's weights do not fit it or are not finite.
        """
        network = self.build_network()
        for fold in self.folds[1:]:
            self.load_into(network, fold)

    def _weights_of(self, fold: str | None) -> tuple[str, dict[str, torch.Tensor]]:
        """Give what sentences call a fold's weights (the first one's if None), and the weights."""
        if fold is None:
            if not self.folds:
                raise ModelError(f"The model '{self.spec.id}' has no weights. Get it again.")
            fold = self.folds[0]
        return f"fold '{fold}' of the model '{self.spec.id}'", self.state_dict(fold)


def _is_all_weights(network: nn.Module) -> bool:
    """Whether a network holds no numbers but those that its weights name."""
    named = network.state_dict()
    return all(name in named for name, _ in (*network.named_parameters(), *network.named_buffers()))


def load_strictly(network: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Load weights key for key.

    Raises
    ------
    ModelError
        Naming the keys that are missing, left over, of another shape or kind, or hold NaN or infinite values; the
        network is then unchanged.
    """
    import torch

    check_fit(network, state, what)
    wanted = network.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.to(wanted[key].dtype)).all()):
            raise ModelError(
                f"The weights '{key}' of {what} hold NaN or infinite values, so the model would give nonsense. "
                "Get the model again."
            )
    network.load_state_dict(dict(state), strict=True)


def check_fit(network: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Hold weights to a network key for key without loading them; the network may be on the meta device.

    Raises
    ------
    ModelError
        Naming the keys that are missing, left over, of another shape, or not of the network's kind of number.
    """
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state]
    left_over = [key for key in state if key not in wanted]
    differing = [
        f"{key} ({_shape(state[key])}, the network has {_shape(wanted[key])})"
        for key in wanted
        if key in state and is_plain(state[key]) and state[key].shape != wanted[key].shape
    ]
    of_kind = [
        f"{key} ({_kind(state[key])}, the network has {_number(wanted[key])})"
        for key in wanted
        if key in state and not _same_kind(state[key], wanted[key])
    ]
    faults = [
        f"{name}: {_some(keys)}"
        for name, keys in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", differing),
            ("of another kind", of_kind),
        )
        if keys
    ]
    if faults:
        raise ModelError(
            f"The weights of {what} do not fit the network. {'; '.join(faults)}. "
            "They were trained with another architecture, or the file is not the right one."
        )


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds its own numbers, all of them, on the CPU: not sparse, nested, quantised or meta."""
    import torch

    strided = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
    return strided and tensor.device.type == "cpu"


def _same_kind(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Real weights for real ones (of 16, 32 or 64 bits), whole numbers (batch counters) for whole ones."""
    import torch

    if not is_plain(given):
        return False
    if wanted.is_floating_point():
        return given.dtype in {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    return not given.is_floating_point() and not given.is_complex()


def _kind(tensor: torch.Tensor) -> str:
    return _number(tensor) if is_plain(tensor) else f"{_number(tensor)}, not a plain tensor on the CPU"


def _number(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"


def _some(keys: list[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
