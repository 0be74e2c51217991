"""Choosing how the GPU scan is cut: a few cuts are timed on the card once, and the choice is kept between runs."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mambaseg.errors import OutputError
from mambaseg.io.files import replacing

Measure = Callable[[int], float]
Fault = Callable[[int], str | None]
_log = logging.getLogger(__name__)
_VERSION = 1


class Tuner:
    """Remembers which of some candidates was fastest.

    Parameters
    ----------
    file
        Where choices are kept; one that cannot be read or written costs the time of measuring, nothing else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, str] | None = None
        self._meanwhile: dict[str, int] = {}  # what could not be settled, so that it is not tried again and again

    def choose(self, key: str, candidates: Sequence[str], measure: Measure, fault: Fault) -> int:
        """Place of the fastest candidate whose numbers are right.

        Where nothing can be settled, the first one stands in for the rest of this process, and nothing is kept.

        Parameters
        ----------
        key
            What the choice depends on: the card, sizes, types.
        candidates
            Their names; a kept choice that is none of them is forgotten.
        measure
            Gives the seconds that a candidate takes; infinity where it cannot run.
        fault
            Tells as a clause what is wrong with a candidate's numbers, nothing if they are right, None if that cannot
            be told now; asked of the fastest first. A candidate with a fault is named in the log and not chosen.
        """
        with self._lock:
            known = self._read()
            if known.get(key) in candidates:
                return list(candidates).index(known[key])
            if key in self._meanwhile:
                return self._meanwhile[key]
            best = self._best(key, candidates, measure, fault)
            if best is None:
                self._meanwhile[key] = 0
                return 0
            self._known = None  # another process may have kept choices since: both are to cut alike
            known = self._read()
            if known.get(key) in candidates:
                return list(candidates).index(known[key])
            known[key] = candidates[best]
            self._write(known)
            return best

    @staticmethod
    def _best(key: str, candidates: Sequence[str], measure: Measure, fault: Fault) -> int | None:
        """The fastest whose numbers are right; None where none runs, or it cannot be told."""
        taken = [measure(place) for place in range(len(candidates))]
        for place in sorted(range(len(candidates)), key=taken.__getitem__):
            if taken[place] == float("inf"):
                return None
            wrong = fault(place)
            if not wrong:
                return None if wrong is None else place
            _log.warning(
                "The GPU scan is not cut into %s, although that is fastest here, because its numbers differ from those "
                "of the usual cut: %s (%s).",
                candidates[place],
                wrong,
                key,
            )
        return None

    def known(self, key: str, candidates: Sequence[str]) -> int | None:
        """Place of the candidate that was chosen before, None where none was; nothing is measured."""
        with self._lock:
            chosen = self._read().get(key)
            return list(candidates).index(chosen) if chosen is not None and chosen in candidates else None

    def _read(self) -> dict[str, str]:
        if self._known is None:
            self._known = {}
            try:
                value = json.loads(self._file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return self._known
            except (OSError, ValueError) as error:
                _log.warning("Choices of the GPU scan in '%s' cannot be read and are made anew: %s.", self._file, error)
                return self._known
            choices = value.get("choices") if isinstance(value, dict) and value.get("version") == _VERSION else None
            if isinstance(choices, dict):
                self._known = {str(key): str(choice) for key, choice in choices.items()}
        return self._known

    def _write(self, known: dict[str, str]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file, ".json") as temporary:
                text = json.dumps({"version": _VERSION, "choices": known}, indent=1, sort_keys=True)
                temporary.write_text(text + "\n", encoding="utf-8")
        except (OSError, OutputError) as error:
            _log.warning("Choices of the GPU scan cannot be kept in '%s' (%s).", self._file, error)
