"""Licences of data and weights: their names, the text that goes into a package, and which allow a picture."""

from __future__ import annotations

import re
from pathlib import Path

from mambaseg_train.errors import DataError

UNKNOWN = "unknown"
_UNKNOWN_TEXT = (
    "The licence of these weights was not stated when they were exported.\n"
    "Ask the people who trained them before passing them on.\n"
)
# By SPDX identifier: where the text is found. Only licences that allow adaptations to be shared.
_PLACES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/legalcode",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/legalcode",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
    "BSD-3-Clause": "https://opensource.org/license/bsd-3-clause",
}
_ALIASES = {"cc0": "CC0-1.0", "public domain": "CC0-1.0", "apache": "Apache-2.0", "bsd": "BSD-3-Clause"}


def spdx(text: str) -> str:
    """The SPDX identifier of a licence that is one of the known open ones, however it is written; else empty."""
    plain = _plain(text)
    for name in _PLACES:
        if plain == _plain(name):
            return name
    return _ALIASES.get(text.strip().lower(), "")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", text.lower())


def allows_pictures(data_licence: str) -> bool:
    """Whether a picture of the data may be passed on by anyone."""
    return bool(spdx(data_licence))


def licence_text(name: str, file: Path | None) -> str:
    """What goes into the package's ``LICENSE``.

    Parameters
    ----------
    name
        Licence's name; may be empty.
    file
        A file with the whole text, or None.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The licence '{file}' cannot be read as text ({error}). Give another file.") from error
    known = spdx(name)
    if known:
        return f"{known}\n\nThe text of this licence: {_PLACES[known]}\n"
    return f"{name}\n" if name and name != UNKNOWN else _UNKNOWN_TEXT
