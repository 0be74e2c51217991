"""A small picture of a prediction, for the list of models; only of data whose licence lets anyone pass it on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mambaseg.models.model import Model
from mambaseg.render import LegendEntry, draw_figure, save_png
from mambaseg.result import Result
from mambaseg.volume import Volume

_SHRINK = 2


def thumbnail(volume: Volume, result: Result, model: Model, source: str) -> bytes:
    """Draw a segmentation small.

    Parameters
    ----------
    volume
        The image, or its first channel.
    result
        What the model found in it.
    model
        For title and modality.
    source
        Where the image is from, with its licence: it stands in the picture.

    Returns
    -------
    bytes
        A PNG.
    """
    legend = [LegendEntry(each.name.replace("_", " "), each.value, each.color) for each in result.segments]
    ct = model.spec.channels[0].modality.upper() == "CT"
    pixels = _smaller(draw_figure(volume, result.labels, legend, model.spec.title, source, ct=ct), _SHRINK)
    with tempfile.TemporaryDirectory(prefix="mambaseg-thumbnail-") as folder:
        path = Path(folder) / "thumbnail.png"
        save_png(path, pixels)
        return path.read_bytes()


def _smaller(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Mean of ``factor x factor`` pixels of ``(rows, columns, 3)``."""
    rows, columns = pixels.shape[0] // factor * factor, pixels.shape[1] // factor * factor
    blocks = pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor, 3)
    small: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small
