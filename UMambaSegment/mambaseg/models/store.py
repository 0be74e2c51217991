"""Models installed on this computer: one package folder each, below the user's data folder."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from mambaseg.errors import ModelError, OutputError
from mambaseg.models.checks import check_spec
from mambaseg.models.files import remove_tree
from mambaseg.models.model import Model
from mambaseg.models.package import Package, copy_package, read_package, write_package
from mambaseg.models.schema import spec_to_json
from mambaseg.models.spec import ModelSpec
from mambaseg.paths import user_data_folder


@dataclass(frozen=True)
class Installed:
    """One installed model: its folder, size on disk in bytes, and its description or what is wrong with it."""

    id: str
    folder: Path
    bytes: int
    spec: ModelSpec | None
    problem: str = ""


class Store:
    """Installed models.

    Parameters
    ----------
    root
        The folder that holds them; ``models`` in the user's data folder if None.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else user_data_folder() / "models"

    @property
    def downloads(self) -> Path:
        """Where files are fetched to before they are installed."""
        return self.root / ".downloads"

    def list(self) -> tuple[Installed, ...]:
        """All installed models by id; a damaged one is listed with its problem."""
        if not self.root.is_dir():
            return ()
        folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return tuple(_look_at(folder) for folder in folders)

    def find(self, model_id: str) -> Installed | None:
        """Give the installed model of an id, or None."""
        folder = self.root / model_id
        plain = folder.parent == self.root and not model_id.startswith(".") and model_id != ""
        return _look_at(folder) if plain and folder.is_dir() else None

    def _need(self, model_id: str) -> Installed:
        found = self.find(model_id)
        if found is None:
            names = ", ".join(item.id for item in self.list()) or "none"
            raise ModelError(f"No model '{model_id}' is installed. Installed: {names}.")
        return found

    def open(self, model_id: str) -> Package:
        """Give the package of an installed model.

        Raises
        ------
        ModelError
            If it is not installed or damaged.
        """
        return read_package(self._need(model_id).folder)

    def install_package(self, source: Path, *, replace: bool = False, expected_id: str | None = None) -> Installed:
        """Install a package folder or ``*.mambaseg`` file; every fold is held to its SHA-256 and loaded once.

        The same package again changes nothing; another one of the same id is installed only with ``replace``.

        Raises
        ------
        ModelError
            If the package is damaged, its weights do not load into its network or are not finite, it is not
            ``expected_id``, or another one of its id is installed.
        OutputError
            If it cannot be written.
        """
        package = read_package(source)
        spec = package.spec
        if expected_id is not None and spec.id != expected_id:
            raise ModelError(f"'{source}' is the model '{spec.id}', not '{expected_id}'. Nothing was installed.")
        Model.from_package(package).check_loads()
        if self._same_is_there(spec, replace=replace):
            return self._need(spec.id)
        copy_package(package, self.root / spec.id, overwrite=True)
        return self._need(spec.id)

    def install_model(self, model: Model, *, replace: bool = False, half: bool = False) -> Installed:
        """Install a model that an importer read into memory, as a package.

        Parameters
        ----------
        model
            From ``import_nnunet`` or ``import_resized_2d``.
        replace
            Replace an installed model of the same id.
        half
            Store the weights as float16.

        Raises
        ------
        ModelError
            If the weights do not fit the network, or another model of that id is installed.
        OutputError
            If it cannot be written.
        """
        check_spec(model.spec)
        model.check_loads()
        staging = self.root / f".{model.spec.id}.{uuid.uuid4().hex[:8]}.import"
        states = {fold: model.state_dict(fold) for fold in model.folds}
        try:
            write_package(staging, model.spec, states, model.card, model.licence_text, half=half)
            if self._same_is_there(read_package(staging).spec, replace=replace):
                return self._need(model.spec.id)
            return self._take(staging, model.spec.id)
        finally:
            remove_tree(staging)

    def _take(self, staging: Path, model_id: str) -> Installed:
        """Move a finished package of the store's own to its place."""
        folder, aside = self.root / model_id, self.root / f".{model_id}.{uuid.uuid4().hex[:8]}.old"
        try:
            if folder.exists():
                folder.replace(aside)
            staging.replace(folder)
            remove_tree(aside)
        except OSError as error:
            if aside.exists() and not folder.exists():
                aside.replace(folder)
            raise OutputError(
                f"The model '{model_id}' cannot be installed in '{self.root}' ({error.strerror or error}). "
                "Check the folder's rights and whether another program uses the model."
            ) from error
        return self._need(model_id)

    def _same_is_there(self, spec: ModelSpec, *, replace: bool) -> bool:
        there = self.find(spec.id)
        if there is None:
            return False
        if there.spec is not None and spec_to_json(there.spec) == spec_to_json(spec):
            try:
                read_package(there.folder).verify()
            except ModelError:
                return False  # installed, but damaged since: install it again
            return True
        if not replace:
            has = there.spec.version if there.spec else "a damaged one"
            raise ModelError(
                f"Another model '{spec.id}' is installed already (version {has}; this one is version {spec.version}). "
                "Ask for it to be replaced, or remove it first."
            )
        return False

    def export(self, model_id: str, destination: Path, *, overwrite: bool = False) -> Path:
        """Write an installed model as a ``*.mambaseg`` file or a folder.

        Raises
        ------
        ModelError
            If it is not installed or damaged.
        OutputError
            If the destination is there already or cannot be written.
        """
        copy_package(self.open(model_id), destination, overwrite=overwrite)
        return destination

    def remove(self, model_id: str) -> int:
        """Remove an installed model and give the bytes that were freed.

        Raises
        ------
        ModelError
            If it is not installed.
        OutputError
            If it cannot be removed.
        """
        found = self._need(model_id)
        aside = self.root / f".{model_id}.{uuid.uuid4().hex[:8]}.old"
        try:
            found.folder.replace(aside)
            shutil.rmtree(aside)
        except OSError as error:
            raise OutputError(f"The model '{model_id}' cannot be removed ({error.strerror or error}).") from error
        return found.bytes

    def verify(self, model_id: str) -> None:
        """Hold every weights file of an installed model to its SHA-256.

        Raises
        ------
        ModelError
            At the first that is missing, truncated or altered.
        """
        self.open(model_id).verify()

    def disk_use(self) -> int:
        """Bytes that all installed models and unfinished downloads take."""
        return _size(self.root)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _look_at(folder: Path) -> Installed:
    try:
        spec: ModelSpec | None = read_package(folder).spec
        problem = ""
    except ModelError as error:
        spec, problem = None, str(error)
    return Installed(folder.name, folder, _size(folder), spec, problem)
