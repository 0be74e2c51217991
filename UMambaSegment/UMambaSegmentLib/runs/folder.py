"""A short-lived folder through which voxels go to the engine and labels come back."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path


class ExchangeFolder:
    """One run's folder below Slicer's temporary one; its name is short, because Windows' paths are.

    Parameters
    ----------
    parent
        Slicer's temporary folder.
    """

    def __init__(self, parent: str | Path) -> None:
        place = Path(parent)
        place.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="mseg", dir=place))

    def remove(self) -> None:
        """Remove it; what another program still holds open is said in the log and left to the system."""

        def tell(_function: object, path: str, _info: object) -> None:
            logging.warning("The temporary file '%s' could not be removed; another program holds it open.", path)

        if self.path.exists():
            shutil.rmtree(self.path, onerror=tell)
