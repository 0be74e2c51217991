"""What stays loaded between requests, and whether it is still what lies on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mambaseg.inference.kept import NetworkCache
    from mambaseg.models.model import Model

Stamp = tuple[tuple[str, int, int], ...]
_OF_A_MODEL = frozenset({".json", ".safetensors", ".pth", ".pt", ".mambaseg"})


def stamp_of(place: Path) -> Stamp:
    """Name, size and modification time of every file that a model at this place is read from.

    Parameters
    ----------
    place
        A package or results folder, a package file, or a checkpoint or its description (then all such files beside it
        count, as one names the other).
    """
    if place.is_dir():
        files: Iterator[Path] = (path for path in place.rglob("*") if path.suffix in _OF_A_MODEL)
    elif place.suffix == ".mambaseg":
        files = iter((place,))
    else:
        files = (path for path in place.parent.iterdir() if path.suffix in _OF_A_MODEL)
    found: list[tuple[str, int, int]] = []
    for path in files:
        try:
            state = path.stat()
        except OSError:
            continue  # gone between the two looks: the stamp differs, and loading will say so
        found.append((os.fspath(path), state.st_size, state.st_mtime_ns))
    return tuple(sorted(found))


@dataclass(frozen=True)
class _Held:
    """A loaded model, and what it was loaded from."""

    ref: str
    stamp: Stamp
    model: Model


class WarmModels:
    """The model that ran last with its built networks, and the one that was last looked at for a forecast.

    So a forecast for another model does not cost the warm networks, and the run that follows it need not load again.

    Parameters
    ----------
    load
        Loads a model; the engine's own `load_model` if None.
    locate
        Says where a model lies; the engine's own if None.
    """

    def __init__(
        self, load: Callable[[str], Model] | None = None, locate: Callable[[str], Path | None] | None = None
    ) -> None:
        self._load, self._locate = load, locate
        self._ran: _Held | None = None
        self._seen: _Held | None = None
        self._networks: NetworkCache | None = None

    def find(self, ref: str, *, to_run: bool) -> Model | None:
        """Give a model that is loaded and whose files are as they were; None if it is to be loaded."""
        stamp = self._stamp(ref)
        for held in (self._ran, self._seen):
            if held is not None and (held.ref, held.stamp) == (ref, stamp):
                self._hold(held, to_run=to_run)
                return held.model
        return None

    def load(self, ref: str, *, to_run: bool) -> Model:
        """Load a model and keep it.

        Raises
        ------
        ModelError
            If there is no such model, or it cannot be used.
        """
        from mambaseg.models import load_model

        stamp = self._stamp(ref)  # before loading: what changes meanwhile is loaded again the next time
        model = (self._load or load_model)(ref)
        self._hold(_Held(ref, stamp, model), to_run=to_run)
        return model

    def _stamp(self, ref: str) -> Stamp:
        from mambaseg.models import locate

        place = (self._locate or locate)(ref)
        return () if place is None else stamp_of(place)

    def _hold(self, held: _Held, *, to_run: bool) -> None:
        if not to_run:
            if held is not self._ran:
                self._seen = held
        elif held is not self._ran:
            self._seen = None
            self.drop()
            self._ran = held

    def networks(self) -> NetworkCache:
        """Where built networks are kept from run to run."""
        from mambaseg.inference.kept import SHARE, NetworkCache

        if self._networks is None:
            self._networks = NetworkCache(SHARE)
        return self._networks

    def drop(self) -> None:
        """Let the networks go, and the model that ran last: it is loaded again if it is wanted."""
        self._ran = None
        if self._networks is not None:
            self._networks.clear()
            self._networks = None
