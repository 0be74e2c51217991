"""The model package: ``model.json``, one ``*.safetensors`` a fold, ``card.md``, ``LICENSE``; a folder or zipped.

A ``thumbnail.png``, and a plot of its figures, ``figures.png``, may lie with them; nothing depends on these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mambaseg.errors import ModelError
from mambaseg.models.checks import check_weight_names
from mambaseg.models.files import PACKAGE_SUFFIX, PackageFiles, open_files, write_files
from mambaseg.models.jsonfile import parse_json
from mambaseg.models.schema import spec_from_json, spec_to_json
from mambaseg.models.spec import ModelSpec, WeightsFile
from mambaseg.models.weights import check_weights, pack_weights, sha256_hex, unpack_weights

if TYPE_CHECKING:
    import torch

__all__ = ["PACKAGE_SUFFIX", "PLOT", "Package", "copy_package", "is_package", "read_package", "write_package"]

_MODEL, _CARD, _LICENCE, _THUMBNAIL = "model.json", "card.md", "LICENSE", "thumbnail.png"
PLOT = "figures.png"
_TEXT_LIMIT = 4 * 1024**2
_PICTURE_LIMIT = 4 * 1024**2
_FOLD = re.compile(r"[0-9A-Za-z_-]{1,64}")


def is_package(place: Path) -> bool:
    """Whether a path looks like a package: a folder with ``model.json``, or a ``*.mambaseg`` file."""
    return (place / _MODEL).is_file() if place.is_dir() else place.suffix == PACKAGE_SUFFIX and place.is_file()


class Package:
    """A package on disk, its description read and checked; weights are read when asked for."""

    def __init__(self, files: PackageFiles) -> None:
        what = f"'{files.place}'"
        if not files.has(_MODEL):
            raise ModelError(
                f"{what} is no model package: it holds no '{_MODEL}'. Choose the folder or file that does."
            )
        value = parse_json(files.read(_MODEL, _TEXT_LIMIT), f"'{_MODEL}' in {what}")
        self._files = files
        self.spec = spec_from_json(value, f"'{_MODEL}' in {what}")
        check_weight_names(self.spec)
        for name in (_CARD, _LICENCE, *(entry.file for entry in self.spec.weights)):
            if not files.has(name):
                raise ModelError(f"The package {what} lacks the file '{name}'. Get it again.")

    @property
    def place(self) -> Path:
        """The folder or file."""
        return self._files.place

    @property
    def card(self) -> str:
        """The model card (Markdown)."""
        return self._files.read(_CARD, _TEXT_LIMIT).decode("utf-8", "replace")

    @property
    def licence_text(self) -> str:
        """The whole text of the licence."""
        return self._files.read(_LICENCE, _TEXT_LIMIT).decode("utf-8", "replace")

    @property
    def thumbnail(self) -> bytes | None:
        """A small picture (PNG), where the package has one."""
        return self._files.read(_THUMBNAIL, _PICTURE_LIMIT) if self._files.has(_THUMBNAIL) else None

    @property
    def plot(self) -> bytes | None:
        """The measured figures as a plot (PNG), where the package has one; its card shows it."""
        return self._files.read(PLOT, _PICTURE_LIMIT) if self._files.has(PLOT) else None

    def weights_bytes(self, fold: str) -> bytes:
        """One fold's weights file, after its size and SHA-256 were found to be the promised ones.

        Raises
        ------
        ModelError
            If the fold is not here, or its file is missing, truncated or altered.
        """
        entry = next((item for item in self.spec.weights if item.fold == fold), None)
        if entry is None:
            raise ModelError(f"The model has no fold '{fold}'. It has: {', '.join(self.spec.folds)}.")
        data = self._files.read(entry.file, max(entry.bytes, 1))
        check_weights(data, entry, f"The weights file '{entry.file}' in '{self.place}'")
        return data

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        """One fold's weights, published keys (aliases included) to tensors on the CPU; checked by SHA-256 first."""
        return unpack_weights(self.weights_bytes(fold), f"The weights of fold '{fold}' in '{self.place}'")

    def sha256(self, fold: str) -> str:
        """Give the promised SHA-256 of one fold's weights file (held to it on every load)."""
        return next((item.sha256 for item in self.spec.weights if item.fold == fold), "")

    def verify(self) -> None:
        """Read every fold's weights and hold them to their SHA-256.

        Raises
        ------
        ModelError
            At the first that is missing, truncated or altered.
        """
        for fold in self.spec.folds:
            self.weights_bytes(fold)


def read_package(place: Path) -> Package:
    """Open a package folder or ``*.mambaseg`` file.

    Raises
    ------
    ModelError
        If it is no package, is damaged, unsafe, or of another schema version.
    """
    return Package(open_files(place))


def _model_json(spec: ModelSpec) -> bytes:
    return (json.dumps(spec_to_json(spec), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_package(
    destination: Path | str,
    spec: ModelSpec,
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    card: str,
    licence_text: str,
    *,
    half: bool = False,
    overwrite: bool = False,
    thumbnail: bytes | None = None,
    plot: bytes | None = None,
) -> ModelSpec:
    """Write a model package.

    Parameters
    ----------
    destination
        A folder's name, or a name that ends in ``.mambaseg`` for one zipped file.
    spec
        The description; its ``weights`` are replaced by what is written.
    weights
        Fold name to state_dict with the published keys.
    card, licence_text
        Contents of ``card.md`` and ``LICENSE``.
    half
        Store the weights as float16 where every value fits.
    overwrite
        Replace what is at the destination.
    thumbnail
        A small picture (PNG) to lie with it, at most 4 MB.
    plot
        The measured figures as a plot (PNG), at most 4 MB; the card refers to it as ``figures.png``.

    Returns
    -------
    ModelSpec
        The description as written, with each weights file's name, SHA-256 and size in bytes.

    Raises
    ------
    ModelError
        If the description contradicts itself or the weights cannot be stored.
    OutputError
        If the destination is there already or cannot be written; nothing half-written is left behind.
    """
    if not weights:
        raise ModelError("A model package needs the weights of at least one fold, but none were given.")
    for name, picture in (("thumbnail", thumbnail), ("plot", plot)):
        if picture is not None and len(picture) > _PICTURE_LIMIT:
            raise ModelError(
                f"The {name} has {len(picture)} bytes, more than the {_PICTURE_LIMIT} that a package may hold. "
                "Make it smaller."
            )
    bad = next((fold for fold in weights if not _FOLD.fullmatch(fold)), None)
    if bad is not None:
        raise ModelError(f"The fold name '{bad}' cannot be a file's name. Use letters, digits, '-' and '_'.")
    spec_to_json(
        replace(spec, weights=tuple(WeightsFile(fold, f"fold_{fold}.safetensors", "0" * 64, 1) for fold in weights))
    )
    written: list[ModelSpec] = []

    def files() -> Iterator[tuple[str, bytes]]:
        entries: list[WeightsFile] = []
        for fold, state in weights.items():
            data = pack_weights(state, half=half)
            entries.append(WeightsFile(fold, f"fold_{fold}.safetensors", sha256_hex(data), len(data)))
            yield entries[-1].file, data
        # The hashes are now those of the package's own files, no longer of the checkpoint that an importer read.
        source = {key: value for key, value in spec.source.items() if key != "sha256_of"}
        written.append(replace(spec, weights=tuple(entries), source=source))
        yield _CARD, card.encode()
        yield _LICENCE, licence_text.encode()
        yield from _pictures(thumbnail, plot)
        yield _MODEL, _model_json(written[0])

    write_files(Path(destination), files(), overwrite=overwrite)
    return written[0]


def _pictures(thumbnail: bytes | None, plot: bytes | None) -> Iterator[tuple[str, bytes]]:
    if thumbnail is not None:
        yield _THUMBNAIL, thumbnail
    if plot is not None:
        yield PLOT, plot


def copy_package(package: Package, destination: Path, *, overwrite: bool = False) -> None:
    """Write a package again, as a folder or zipped, its weights byte for byte (each is held to its SHA-256).

    Raises
    ------
    ModelError
        If a weights file is truncated or altered.
    OutputError
        If the destination is there already or cannot be written.
    """

    def files() -> Iterator[tuple[str, bytes]]:
        for entry in package.spec.weights:
            yield entry.file, package.weights_bytes(entry.fold)
        yield _CARD, package.card.encode()
        yield _LICENCE, package.licence_text.encode()
        yield from _pictures(package.thumbnail, package.plot)
        yield _MODEL, _model_json(package.spec)

    write_files(destination, files(), overwrite=overwrite)
