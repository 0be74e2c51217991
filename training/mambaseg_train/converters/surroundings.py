"""What lies around a patient in an ordinary CT, put round a patient whose surroundings were masked out.

Planning systems write -1000 HU outside the body: no couch, no head rest, no mask, no noise in the air. A network that
saw nothing else takes a couch for a patient, so each kind of surrounding is drawn here from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mambaseg.io import write_volume
from mambaseg.phantom import Phantom, make_phantom
from mambaseg.volume import Volume
from mambaseg_train.converters.pieces import mapped_labels, read
from mambaseg_train.converters.trunk import trunk
from mambaseg_train.errors import DataError

MASKED = -1000.0
_LEAST_SLICES = 24  # of the body that a shortened scan keeps
_SHORTENED = 0.4  # share of scans that end earlier than the masked one
_FOAM = (-970.0, -860.0)
_COARSE = 3.9  # mm, near that of the planning CTs: what a scan of another part of the body is averaged to
_LONG = 200.0  # mm, to which a thin scan is prolonged

Voxels = NDArray[np.float32]
Mask = NDArray[np.bool_]


def outside_of(voxels: NDArray[np.generic]) -> Mask:
    """Where a masked scan ``(slices, rows, columns)`` holds no patient: -1000 HU as far as a slice's border reaches.

    Slice by slice, as an airway may be -1000 HU too and open above and below.
    """
    empty = np.asarray(voxels) <= MASKED
    framed = np.pad(empty, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    frame = np.zeros_like(framed)
    frame[:, 0] = True
    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[[0, 2]] = False
    return np.asarray(ndimage.binary_propagation(frame, in_plane, mask=framed)[:, 1:-1, 1:-1])


def kept_slices(outside: Mask, seed: int) -> slice:
    """Slices that show the patient; for some seeds fewer, as a scan ends where it was stopped.

    Raises
    ------
    DataError
        If there is no patient.
    """
    shown = np.flatnonzero(~outside.all(axis=(1, 2)))
    if not len(shown):
        raise DataError("The scan is -1000 HU everywhere, so there is no patient in it. Get the file again.")
    first, last = int(shown[0]), int(shown[-1]) + 1
    rng = np.random.default_rng([seed, 1])
    spare = last - first - _LEAST_SLICES
    if rng.random() < _SHORTENED and spare > 0:
        cut = rng.integers(0, spare // 2 + 1, 2)
        first, last = first + int(cut[0]), last - int(cut[1])
    return slice(first, last)


def surround(voxels: NDArray[np.generic], spacing: tuple[float, float, float], seed: int) -> NDArray[np.int16]:
    """Put couch, head rest, mask, clothes and noise round a masked patient who lies on the back.

    Parameters
    ----------
    voxels
        HU ``(slices, rows, columns)``, rows from front to back, -1000 outside the patient.
    spacing
        mm along columns, rows and slices.
    seed
        Of everything that is drawn.

    Returns
    -------
    NDArray[np.int16]
        HU of the same shape; the patient's own voxels differ by noise alone.
    """
    rng = np.random.default_rng([seed, 2])
    outside = outside_of(voxels)
    scene = np.full(outside.shape, MASKED, np.float32)
    back = _back(outside)
    top = back + round(rng.uniform(0, 12) / spacing[1])
    _add_couch(scene, top, spacing, rng)
    if rng.random() < 0.6:
        _add_rest(scene, outside, top, spacing, rng)
    if rng.random() < 0.4:
        _add_shell(scene, outside, rng.uniform(-500, 50), rng)
    if rng.random() < 0.5:
        _add_shell(scene, outside, rng.uniform(-950, -750), rng)
    scene = ndimage.gaussian_filter(scene, (0, 0.4, 0.4))
    filled = np.where(outside, scene, np.asarray(voxels, np.float32))
    noise = rng.normal(0, 1, filled.shape).astype(np.float32)
    noise *= np.where(outside, rng.uniform(2, 25), rng.uniform(0, 12)).astype(np.float32)
    lowest = MASKED - 24.0
    return np.clip(np.rint(filled + noise), lowest, 32767).astype(np.int16)


def _back(outside: Mask) -> int:
    """First row behind the patient."""
    return int(np.flatnonzero(~outside.all(axis=(0, 2)))[-1]) + 1


def _add_couch(scene: Voxels, top: int, spacing: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Paint a plate or a trough with a skin of carbon fibre and a core of foam; it runs through all slices."""
    rows, columns = np.mgrid[0 : scene.shape[1], 0 : scene.shape[2]].astype(np.float32)
    across = (columns - (scene.shape[2] - 1) / 2) * spacing[0]
    sag = rng.choice([0.0, rng.uniform(2e-4, 1.2e-3)])  # 1 / mm: a diagnostic couch is a trough
    depth = (rows - top) * spacing[1] + sag * across**2
    thick, half = rng.uniform(12, 90), rng.uniform(200, 270)
    inside = (depth >= 0) & (depth < thick) & (np.abs(across) < half)
    skin = rng.uniform(3, 6)
    edge = inside & ((depth < skin) | (depth >= thick - skin) | (np.abs(across) > half - skin))
    scene[:, inside] = rng.uniform(*_FOAM)
    scene[:, edge] = rng.uniform(-750, 0)


def _add_rest(
    scene: Voxels, outside: Mask, top: int, spacing: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Fill foam between patient and couch under the upper part of the scan."""
    last = int(scene.shape[0] * rng.uniform(0.4, 1.0))
    half = int(rng.uniform(60, 140) / spacing[0])
    middle = scene.shape[2] // 2
    lowest = max(0, top - int(rng.uniform(30, 110) / spacing[1]))
    place = (slice(scene.shape[0] - last, None), slice(lowest, top), slice(max(0, middle - half), middle + half))
    scene[place][outside[place]] = rng.uniform(*_FOAM)


def _add_shell(scene: Voxels, outside: Mask, value: float, rng: np.random.Generator) -> None:
    """Lay one voxel of a mask's plastic, a cloth or a blanket on the skin, over a part of the slices."""
    grown = ndimage.binary_dilation(~outside, ndimage.generate_binary_structure(3, 1))
    first, last = sorted(int(scene.shape[0] * share) for share in rng.uniform(0, 1, 2))
    here = slice(first, last)
    scene[here][(grown & outside)[here]] = value


@dataclass(frozen=True)
class Surrounded:
    """A masked CT with surroundings, or with ``label`` its label: both lose the same slices.

    Attributes
    ----------
    image
        The masked CT.
    seed
        Of what is drawn.
    label
        The label file, to write that in place of the image.
    """

    image: Path
    seed: int
    label: Path | None = None

    def write(self, path: Path) -> None:
        """Read, change and write it."""
        volume = read(self.image)
        kept = kept_slices(outside_of(volume.voxels), self.seed)
        if self.label is None:
            voxels = surround(volume.voxels[kept], volume.geometry.spacing, self.seed)
        else:
            drawn = read(self.label).voxels
            if drawn.shape != volume.shape:
                raise DataError(f"The label '{self.label}' has another shape than its image. Get both files again.")
            voxels = mapped_labels(drawn, None, self.label)[kept]
        origin = (
            np.array(volume.geometry.origin) + volume.geometry.matrix[:, 2] * volume.geometry.spacing[2] * kept.start
        )
        write_volume(voxels, replace(volume.geometry, origin=tuple(origin.tolist())), path)


@dataclass(frozen=True)
class PhantomPiece:
    """The CT of a synthetic patient of `mambaseg.phantom`, or its label."""

    seed: int
    is_label: bool = False

    def write(self, path: Path) -> None:
        """Make and write it."""
        made = phantom(self.seed)
        write_volume(made.labels if self.is_label else made.volume.voxels, made.volume.geometry, path)


@dataclass(frozen=True)
class TrunkPiece:
    """The CT of a synthetic trunk, or its label, in which there is nothing."""

    seed: int
    is_label: bool = False

    def write(self, path: Path) -> None:
        """Make and write it."""
        made = trunk(self.seed)
        write_volume(np.zeros(made.shape, np.uint8) if self.is_label else made.voxels, made.geometry, path)


@dataclass(frozen=True)
class Elsewhere:
    """A CT of another part of the body, or its label, in which there is nothing.

    It is averaged to about the planning CTs' pixels. A thin one is prolonged by its own mirror images, and size and
    noise differ from seed to seed, so that one scan may serve several times.

    Attributes
    ----------
    source
        A file, or a folder with a DICOM series.
    seed
        Of size and noise.
    is_label
        Whether the label is wanted.
    """

    source: Path
    seed: int
    is_label: bool = False

    def write(self, path: Path) -> None:
        """Read, change and write it."""
        coarse = _coarse(self.source)
        rng = np.random.default_rng([self.seed, 5])
        noisy = coarse.voxels + rng.normal(0, rng.uniform(0, 20), coarse.shape).astype(np.float32)
        scale = rng.uniform(0.85, 1.15)
        across, along, between = coarse.geometry.spacing
        geometry = replace(coarse.geometry, spacing=(across * scale, along * scale, between))
        voxels = np.zeros(coarse.shape, np.uint8) if self.is_label else np.rint(noisy).astype(np.int16)
        write_volume(voxels, geometry, path)


@lru_cache(maxsize=1)
def _coarse(source: Path) -> Volume:
    """The scan averaged over pixels and prolonged; it serves all seeds, image and label."""
    volume = read(source)
    spacing = volume.geometry.spacing
    step = max(1, round(_COARSE / spacing[0]))
    slices, rows, columns = (volume.shape[0], *(n // step * step for n in volume.shape[1:]))
    blocks = volume.voxels[:, :rows, :columns].reshape(slices, rows // step, step, columns // step, step)
    more = max(0, round(_LONG / spacing[2]) - slices)
    around = ((more // 2, more - more // 2), (0, 0), (0, 0))
    voxels = np.pad(blocks.mean(axis=(2, 4), dtype=np.float32), around, mode="symmetric")
    return Volume(voxels, replace(volume.geometry, spacing=(spacing[0] * step, spacing[1] * step, spacing[2])))


@lru_cache(maxsize=1)
def phantom(seed: int) -> Phantom:
    """A synthetic patient; field of view, couch, noise and sharpness differ from seed to seed."""
    rng = np.random.default_rng([seed, 3])
    return make_phantom(
        shape=(int(rng.integers(80, 124)), 104, int(rng.integers(100, 128))),
        spacing=(3.9, 3.9, 2.8),
        centre=(rng.uniform(-10, 10), rng.uniform(-10, 10), rng.uniform(-60, 0)),
        seed=seed,
        noise=float(rng.uniform(3, 20)),
        edge=float(rng.uniform(2.0, 5.0)),
        couch=bool(rng.random() < 0.7),
        body_only=bool(rng.random() < 0.3),
    )
