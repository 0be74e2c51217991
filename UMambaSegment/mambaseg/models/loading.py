"""``load_model``: from whatever a person calls a model to the model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mambaseg.errors import ModelError
from mambaseg.models.catalogue import load_catalogue
from mambaseg.models.model import Model
from mambaseg.models.package import PACKAGE_SUFFIX, Package, is_package, read_package
from mambaseg.models.store import Installed, Store

_BUNDLED = Path(__file__).parent / "bundled"


def bundled_models(folder: Path = _BUNDLED) -> dict[str, Path]:
    """Ids and places of the packages that come with the engine."""
    found = (
        {path.name.removesuffix(PACKAGE_SUFFIX): path for path in folder.iterdir() if is_package(path)}
        if folder.is_dir()
        else {}
    )
    return dict(sorted(found.items()))


def load_model(
    ref: Model | str | os.PathLike[str],
    *,
    checkpoint: str = "checkpoint_final",
    folds: Iterable[str | int] | None = None,
    orientation: str | None = None,
) -> Model:
    """Load a model by id or path.

    Parameters
    ----------
    ref
        A `Model` (given back as it is); the id of an installed or bundled model; a package folder or ``*.mambaseg``
        file;
        an nnU-Net v2 results folder (or a dataset's folder with only one in it); a VM-UNet or Mamba-UNet ``.pth``
        with its
        description ``.json`` beside it, or that description.
    checkpoint, folds, orientation
        For nnU-Net folders, as in ``import_nnunet``.

    Raises
    ------
    ModelError
        If there is no such model (the sentence lists what there is), or it cannot be used.
    """
    if isinstance(ref, Model):
        return ref
    text = os.fspath(ref)
    if not text:
        raise ModelError(f"No model was named. {_what_there_is()}")
    named = _place_of_id(text) if isinstance(ref, str) else None
    if named is not None:
        return Model.from_package(read_package(named))
    path = Path(text).expanduser()
    if path.exists():
        return _by_path(path, checkpoint, folds, orientation)
    entry = load_catalogue().find(text)
    if entry is not None:
        raise ModelError(
            f"The model '{text}' is not installed yet ({entry.bytes / 1e6:.0f} MB). "
            f"Download it with 'mambaseg models download {text}', or import its file with 'mambaseg models "
            "import FILE'."
        )
    raise ModelError(f"There is no model '{text}': neither an id nor a file or folder. {_what_there_is()}")


def _place_of_id(model_id: str) -> Path | None:
    """The folder or file of an installed or bundled model; None for what is no id, or no model's."""
    if any(mark in model_id for mark in ("/", "\\")):
        return None
    installed = Store().find(model_id)
    return installed.folder if installed is not None else bundled_models().get(model_id)


def locate(ref: str) -> Path | None:
    """Where the package, folder or checkpoint lies that `load_model` takes for ``ref``; None if there is none."""
    place = _place_of_id(ref)
    if place is None and ref and Path(ref).expanduser().exists():
        place = Path(ref).expanduser()
    return place


def open_package(ref: str) -> Package:
    """Give the package of an installed or bundled model, or of a path.

    Raises
    ------
    ModelError
        If there is none, or it is damaged.
    """
    place = locate(ref)
    if place is not None:
        return read_package(place)
    known = ", ".join([*(item.id for item in Store().list()), *bundled_models()]) or "none"
    raise ModelError(f"There is no model '{ref}' here. Installed or bundled: {known}.")


def remove_model(ref: str) -> int:
    """Remove an installed model and give the bytes that were freed.

    Raises
    ------
    ModelError
        If it is not installed, or comes with the engine.
    OutputError
        If it cannot be removed.
    """
    store = Store()
    if store.find(ref) is None and ref in bundled_models():
        raise ModelError(f"The model '{ref}' is part of mambaseg and cannot be removed.")
    return store.remove(ref)


def _by_path(path: Path, checkpoint: str, folds: Iterable[str | int] | None, orientation: str | None) -> Model:
    if is_package(path):
        return Model.from_package(read_package(path))
    if path.is_dir():
        from mambaseg.models.importers.nnunet import import_nnunet

        return import_nnunet(path, checkpoint=checkpoint, folds=folds, orientation=orientation)
    if path.suffix in {".pth", ".pt"}:
        from mambaseg.models.importers.resized2d import find_description, import_resized_2d

        description = find_description(path)
        if description is None:
            raise ModelError(
                f"'{path}' is a bare checkpoint, which does not say how it was trained. Put a description "
                f"'{path.with_suffix('.json').name}' beside it "
                f'({{"schema_version": 1, "preset": "vm_unet_isic"}} at the '
                "least), or choose the nnU-Net results folder it belongs to."
            )
        return import_resized_2d(path, description)
    if path.suffix == ".json":
        from mambaseg.models.importers.resized2d import import_resized_2d

        return import_resized_2d(None, path)
    raise ModelError(
        f"'{path}' is no model: neither a package folder, a *{PACKAGE_SUFFIX} file, an nnU-Net results folder "
        "nor a .pth checkpoint with a description."
    )


def _what_there_is() -> str:
    installed = [item.id for item in Store().list()]
    loadable = [entry.id for entry in load_catalogue().entries if entry.id not in installed]
    parts = [("Installed", installed), ("bundled", list(bundled_models())), ("to download", loadable)]
    return "; ".join(f"{name}: {', '.join(ids) or 'none'}" for name, ids in parts) + "."


def install(
    source: Model | str | os.PathLike[str],
    store: Store | None = None,
    *,
    replace: bool = False,
    half: bool = False,
    checkpoint: str = "checkpoint_final",
    folds: Iterable[str | int] | None = None,
    orientation: str | None = None,
) -> Installed:
    """Install what `load_model` can load from a path (or a `Model`) in the store.

    Parameters
    ----------
    source
        Package folder or file, nnU-Net results folder, described ``.pth``, or a `Model`.
    store
        Where to; the user's own if None.
    replace
        Replace an installed model of the same id.
    half
        Store imported weights as float16 (packages stay as they are).
    checkpoint, folds, orientation
        For nnU-Net folders, as in ``import_nnunet``.

    Raises
    ------
    ModelError, OutputError
        In a sentence; nothing half-installed is left.
    """
    target = store or Store()
    if not isinstance(source, Model):
        path = Path(os.fspath(source)).expanduser()
        if not path.exists():
            raise ModelError(f"There is nothing at '{path}' to import. Check the path.")
        if is_package(path):
            return target.install_package(path, replace=replace)
        source = _by_path(path, checkpoint, folds, orientation)
    return target.install_model(source, replace=replace, half=half)
