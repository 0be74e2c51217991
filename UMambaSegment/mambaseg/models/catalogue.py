"""The list of models that can be downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mambaseg.errors import DownloadError, ModelError
from mambaseg.models.downloads import Clock, Download, Opener, Progress, check_url, file_sha256, open_url
from mambaseg.models.jsonfile import check_schema, check_version, read_json
from mambaseg.models.store import Installed, Store

CATALOGUE_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One model to download: what it is, its size in bytes and SHA-256, and where it lies."""

    id: str
    version: str
    title: str
    text: str
    modality: str
    structures: tuple[str, ...]
    network: str
    bytes: int
    sha256: str
    urls: tuple[str, ...]
    licence: str
    licence_url: str = ""
    superseded_by: str = ""
    family: str = ""
    variant: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All entries, in the file's order."""

    entries: tuple[Entry, ...]

    def find(self, model_id: str) -> Entry | None:
        """Give the entry of an id, or None."""
        return next((entry for entry in self.entries if entry.id == model_id), None)

    def need(self, model_id: str) -> Entry:
        """Give the entry of an id.

        Raises
        ------
        ModelError
            If there is none; the sentence lists what there is.
        """
        entry = self.find(model_id)
        if entry is None:
            known = ", ".join(item.id for item in self.entries) or "none yet"
            raise ModelError(f"The catalogue has no model '{model_id}'. To download: {known}.")
        return entry

    def identify(self, file: Path) -> Entry | None:
        """Give the entry whose file this is, by its SHA-256: for files brought from another computer."""
        size = file.stat().st_size
        candidates = [entry for entry in self.entries if entry.bytes == size]
        if not candidates:
            return None
        digest = file_sha256(file)
        return next((entry for entry in candidates if entry.sha256 == digest), None)


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read a catalogue; the one shipped with the engine if None.

    Raises
    ------
    ModelError
        If it is no catalogue, of another schema version, has an id twice or an address that is not https.
    """
    chosen = path or Path(__file__).parent / "catalogue.json"
    value = read_json(chosen)
    check_version(value, CATALOGUE_VERSION, f"The catalogue '{chosen}'")
    check_schema(value, "catalogue", f"The catalogue '{chosen}'")
    entries = tuple(
        Entry(**{**item, "structures": tuple(item["structures"]), "urls": tuple(item["urls"])})
        for item in value["models"]
    )
    ids = [entry.id for entry in entries]
    for entry in entries:
        if ids.count(entry.id) > 1:
            raise ModelError(f"The catalogue '{chosen}' has the model '{entry.id}' twice. Get the catalogue again.")
        try:
            for url in entry.urls:
                check_url(url)
        except DownloadError as error:
            raise ModelError(f"The catalogue '{chosen}', model '{entry.id}': {error}") from error
    return Catalogue(entries)


def download_model(
    entry: Entry,
    store: Store,
    *,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    opener: Opener = open_url,
    clock: Clock | None = None,
    replace: bool = False,
) -> Installed:
    """Download a model of the catalogue and install it; nothing is fetched where it is installed already.

    Raises
    ------
    DownloadError
        If no mirror gave the promised file.
    ModelError
        If the file is no package, is another model's, or another version is installed and ``replace`` is not set.
    OutputError
        If it cannot be written.
    Cancelled
        If ``cancel`` said so; the part that is here is kept.
    """
    there = store.find(entry.id)
    if there is not None and there.spec is not None and there.spec.version == entry.version:
        return there
    destination = store.downloads / f"{entry.id}-{entry.version}.mambaseg"
    fetched = Download(entry.urls, destination, entry.sha256, entry.bytes, opener=opener, clock=clock).run(
        progress, cancel
    )
    installed = store.install_package(fetched, replace=replace, expected_id=entry.id)
    fetched.unlink()
    return installed
