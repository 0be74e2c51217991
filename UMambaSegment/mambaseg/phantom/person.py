"""How one synthetic patient differs from another: sizes, posture and tissue values drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mambaseg.phantom.shapes import FloatArray, Point, Points, rotation

# Below this height (mm, the foramen magnum is 0) the trunk stays put when the head turns.
_NECK_TOP, _NECK_LENGTH = -10.0, 130.0


@dataclass(frozen=True)
class Person:
    """One patient, in mm, degrees and HU.

    Attributes
    ----------
    scale
        Size along x, y, z beside the average.
    turn
        How the whole patient lies: degrees about x, y, z.
    shift
        Where the patient lies on the couch, mm.
    bend
        How far the head is moved to the left and forwards of the chest, mm: the neck bends for it.
    lordosis
        Depth of the neck's curve, mm.
    jaw
        Size of the jaw beside the average.
    larynx
        How much higher than average the larynx sits, mm.
    parotid
        Size of the parotids beside the average, right and left.
    parotid_hu
        Fatty glands are darker.
    vessel_hu
        45 is a plain scan, 180 one with contrast agent.
    fat
        How much thicker than average the fat under the skin is, mm.
    """

    scale: Point = (1.0, 1.0, 1.0)
    turn: Point = (0.0, 0.0, 0.0)
    shift: Point = (0.0, 0.0, 0.0)
    bend: tuple[float, float] = (0.0, 0.0)
    lordosis: float = 6.0
    jaw: float = 1.0
    larynx: float = 0.0
    parotid: tuple[float, float] = (1.0, 1.0)
    parotid_hu: float = 5.0
    vessel_hu: float = 150.0
    fat: float = 0.0

    @staticmethod
    def drawn(seed: int) -> Person:
        """Draw a patient by ``seed``; 0 is the average one, lying straight."""
        if seed == 0:
            return Person()
        rng = np.random.default_rng([seed, 1])

        def near(middle: float, spread: float) -> float:
            return float(np.clip(rng.normal(middle, spread), middle - 2 * spread, middle + 2 * spread))

        size = near(1.0, 0.03)
        return Person(
            scale=(size * near(1, 0.02), size * near(1, 0.02), size * near(1, 0.02)),
            turn=(near(0, 2.5), near(0, 1.5), near(0, 2.5)),
            shift=(near(0, 4), near(0, 3), near(0, 6)),
            bend=(near(0, 3), near(0, 4)),
            lordosis=near(6, 3),
            jaw=near(1, 0.05),
            larynx=near(0, 4),
            parotid=(near(1, 0.1), near(1, 0.1)),
            parotid_hu=near(5, 18),
            vessel_hu=45.0 if rng.random() < 0.4 else near(160, 25),
            fat=near(0, 1.0),
        )

    def canonical(self, x: FloatArray, y: FloatArray, z: FloatArray) -> Points:
        """Room positions (LPS, mm) as positions in the average, straight patient."""
        moved = tuple(axis - np.float32(s) for axis, s in zip((x, y, z), self.shift, strict=True))
        if any(self.turn):
            m = rotation(self.turn).T.astype(np.float32)
            moved = tuple(m[n, 0] * moved[0] + m[n, 1] * moved[1] + m[n, 2] * moved[2] for n in range(3))
        x, y, z = (axis / np.float32(s) for axis, s in zip(moved, self.scale, strict=True))
        if any(self.bend):
            t = np.clip((z - np.float32(_NECK_TOP - _NECK_LENGTH)) / np.float32(_NECK_LENGTH), 0, 1)
            share = t * t * (3 - 2 * t)
            x = x - np.float32(self.bend[0]) * share
            y = y + np.float32(self.bend[1]) * share
        return Points.of(*(np.asarray(axis, dtype=np.float32) for axis in (x, y, z)))
