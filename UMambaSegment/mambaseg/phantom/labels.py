"""The phantom's label values: those of OpenKBP's head-and-neck contours."""

from __future__ import annotations

BRAINSTEM, SPINAL_CORD, RIGHT_PAROTID, LEFT_PAROTID, ESOPHAGUS, LARYNX, MANDIBLE = range(1, 8)

LABELS: dict[str, int] = {
    "brainstem": BRAINSTEM,
    "spinal_cord": SPINAL_CORD,
    "right_parotid": RIGHT_PAROTID,
    "left_parotid": LEFT_PAROTID,
    "esophagus": ESOPHAGUS,
    "larynx": LARYNX,
    "mandible": MANDIBLE,
}
