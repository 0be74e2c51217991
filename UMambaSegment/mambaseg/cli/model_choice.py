"""Which model runs where none is named, and a model told to expect another orientation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mambaseg.defaults import DEMONSTRATION, PREFERRED
from mambaseg.errors import ModelError
from mambaseg.geometry import Geometry, turn_to
from mambaseg.models import Model, Store, bundled_models
from mambaseg.models.spec import AS_STORED

if TYPE_CHECKING:
    import torch


def default_model(store: Store | None = None) -> str:
    """Id of the model to use where none is named; the demonstration model, made from phantoms, never is.

    Raises
    ------
    ModelError
        If there is none, or there are several to choose from.
    """
    installed = [item.id for item in (store or Store()).list()]
    usable = sorted({*installed, *bundled_models()} - {DEMONSTRATION})
    if PREFERRED in usable and not installed:
        return PREFERRED
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise ModelError(
            "No model was named and none is installed. Download or import one ('mambaseg models list' shows what there "
            "is), or name a package or an nnU-Net results folder with --model."
        )
    raise ModelError(f"No model was named and there are several: {', '.join(usable)}. Choose one with --model.")


def demo_model() -> str:
    """Id of the best bundled model for the demonstration.

    Raises
    ------
    ModelError
        If none is bundled.
    """
    bundled = bundled_models()
    for name in (PREFERRED, DEMONSTRATION, *bundled):
        if name in bundled:
            return name
    raise ModelError("No model comes with this copy of mambaseg. Name one with --model.")


class _Lent:
    """Another model's weights."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        """One fold's weights."""
        return self._model.state_dict(fold)

    def sha256(self, fold: str) -> str:
        """SHA-256 of the file they are from."""
        return self._model.weights_sha256(fold)


def oriented(model: Model, orientation: str | None) -> Model:
    """Give the model, with images turned to ``orientation`` (``as_stored``, or letters such as ``LPS``) first.

    Raises
    ------
    ModelError
        If the orientation does not name three axes.
    """
    if orientation is None or orientation == model.spec.orientation:
        return model
    if orientation != AS_STORED:
        orientation = orientation.upper()
        turn_to(Geometry(), orientation)
    return Model(
        replace(model.spec, orientation=orientation), _Lent(model), model.card, model.licence_text, model.origin
    )
