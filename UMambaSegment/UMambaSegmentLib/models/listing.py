"""All models there are: installed, bundled with the extension, and to download; each id once."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mambaseg import paths
from mambaseg.defaults import DEMONSTRATION, PREFERRED
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.card import ModelCard, State
from UMambaSegmentLib.models.reading import (
    SCHEMA_VERSION,
    Unreadable,
    card_of_entry,
    card_of_model,
    fault_of_model,
    objects,
    read_object,
)

ENGINE_MODELS = Path(paths.__file__).resolve().parent / "models"
_ORDER: dict[State, int] = {"installed": 0, "bundled": 1, "damaged": 2, "to download": 3}


def list_models(home: Path | None = None, engine_models: Path = ENGINE_MODELS) -> tuple[ModelCard, ...]:
    """List every model, those on this computer first and then by title; the demonstration's after the real ones.

    An id is listed once: the installed package before the bundled one (so does the engine), and both before the
    catalogue, whose knowledge of another version and of a successor is added to the card.

    Parameters
    ----------
    home
        The user's data folder; the engine's own choice if None.
    engine_models
        The engine's folder with ``bundled`` and ``catalogue.json``.
    """
    found: dict[str, ModelCard] = {}
    for card in _packages(_store(home), "installed"):
        found[card.id] = card
    for card in _packages(engine_models / "bundled", "bundled"):
        found.setdefault(card.id, card)
    for entry in _catalogue(engine_models / "catalogue.json"):
        here = found.get(entry.id)
        found[entry.id] = entry if here is None else _with_entry(here, entry)
    return tuple(sorted(found.values(), key=_place))


def _place(card: ModelCard) -> tuple[int, bool, str, str]:
    return _ORDER[card.state], card.id == DEMONSTRATION, card.name.casefold(), card.id


def default_of(cards: Iterable[ModelCard]) -> ModelCard | None:
    """The card to choose where nobody has chosen: the preferred bundled model, else the first that runs.

    It is never the demonstration's.

    A person who has installed models of his own gets the first of those.
    """
    usable = [card for card in cards if card.runnable and card.id != DEMONSTRATION]
    preferred = next((card for card in usable if card.id == PREFERRED), None)
    if preferred is not None and not any(card.state == "installed" for card in usable):
        return preferred
    return next(iter(usable), None)


def disk_use(home: Path | None = None) -> int:
    """Bytes that installed models and unfinished downloads take."""
    return _size(_store(home))


def downloads_use(home: Path | None = None) -> int:
    """Bytes that unfinished downloads take (part of `disk_use`)."""
    return _size(_store(home) / ".downloads")


def _store(home: Path | None) -> Path:
    return (home if home is not None else paths.user_data_folder()) / "models"


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue  # the engine renamed or removed it meanwhile: a download that ended
        total += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return total


def _packages(root: Path, state: State) -> Iterable[ModelCard]:
    if not root.is_dir():
        return
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:  # shown in their place, so that nobody wonders where the models went
        problem = _("The folder '{path}' cannot be read ({reason}); check its rights.")
        problem = problem.format(path=root, reason=error.strerror or error)
        yield ModelCard(root.name, title=_("Installed models"), state="damaged", problem=problem, folder=root)
        return
    for folder in folders:
        yield _look_at(folder, state)


def _look_at(folder: Path, state: State) -> ModelCard:
    card, size = ModelCard(folder.name), 0
    try:
        size = _size(folder)
        value = read_object(folder / "model.json")
        card = card_of_model(value, folder.name, state)
        problem = fault_of_model(value, folder)
    except Unreadable as error:
        problem = _("{reason} Get the model again.").format(reason=error)
    except OSError as error:
        problem = _("Its files cannot be read ({reason}); check their rights.").format(reason=error.strerror or error)
    return replace(
        card,
        state="damaged" if problem else state,
        problem=problem,
        bytes=size,
        folder=folder,
        card_path=_file(folder / "card.md"),
        plot_path=_file(folder / "figures.png"),
        licence_path=_file(folder / "LICENSE"),
    )


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _catalogue(path: Path) -> Iterable[ModelCard]:
    problem = ""
    try:
        value = read_object(path)
        if value.get("schema_version") != SCHEMA_VERSION:
            problem = _("The list of models to download is of another version; reinstall the extension.")
    except Unreadable as error:
        value, problem = {}, f"{error} " + _("Reinstall the extension to get the list of models to download.")
    if problem:  # shown in its place, so that nobody wonders where the models went
        yield ModelCard("catalogue", title=_("Models to download"), state="damaged", problem=problem)
        return
    yield from (card for card in map(card_of_entry, objects(value, "models")) if card.id)


def _with_entry(card: ModelCard, entry: ModelCard) -> ModelCard:
    return replace(
        card,
        # A damaged one can be had again in the same version.
        update=entry.version if entry.version != card.version or card.state == "damaged" else "",
        superseded_by=entry.superseded_by,
        licence_url=entry.licence_url,
        family=card.family or entry.family,
        variant=card.variant or entry.variant,
    )
