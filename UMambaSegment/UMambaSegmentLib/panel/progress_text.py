"""Progress as a person reads it: one bar from 0 to 100 over all stages, and one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.sizes import of_bytes_text, seconds_text

# Share of the bar that each stage gets: the network takes most of a run's time on every device.
_SPANS = {"load": (0, 5), "prepare": (5, 10), "network": (10, 90), "export": (90, 98), "write": (98, 99)}


@dataclass(frozen=True)
class ProgressView:
    """How far a run is: per cent, and what to write beside it."""

    percent: int
    text: str


def view_progress(event: Mapping[str, Any]) -> ProgressView:
    """Turn one progress event of the engine into what the panel shows."""
    stage = str(event.get("stage", ""))
    done, total = float(event.get("done") or 0), float(event.get("total") or 0)
    share = min(1.0, done / total) if total > 0 else 0.0
    low, high = _SPANS.get(stage, (0, 100))
    left = event.get("seconds_left")
    parts = [_stage_text(stage, int(done), int(total))]
    if isinstance(left, (int, float)):
        parts.append(_("about {time} left").format(time=seconds_text(left)))
    return ProgressView(round(low + (high - low) * share), ", ".join(parts))


def _stage_text(stage: str, done: int, total: int) -> str:
    if stage == "network" and total:
        return _("Network: tile {done} of {total}").format(done=done, total=total)
    if stage == "download" and total:
        return _("Downloading: {done_of_total}").format(done_of_total=of_bytes_text(done, total))
    texts = {
        "load": _("Loading the engine and the model"),
        "prepare": _("Preparing the image"),
        "network": _("Network"),
        "export": _("Bringing labels to the image's grid"),
        "write": _("Handing the result over"),
        "download": _("Downloading"),
    }
    return texts.get(stage, stage)
