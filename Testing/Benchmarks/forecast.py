"""What `mambaseg.forecast` says, beside what the run then takes: peak memory above the process's start, and seconds.

    python3 dev.py bench forecast [--networks ...] [--size small full] [--sizes 0.25 0.5 1] [--classes 14]
                                  [--ways plain probabilities bfloat16 folds warm]

All six networks on the phantom's 512x424x300 CT and smaller ones (`--sizes`: fractions of its edges); the 2D networks
go slice by slice. Forecast and run are each in a process of its own; the run's process has all libraries, the model's
weights and the volume loaded when it begins. Ratios are forecast to measured. Where the measured peak is above 500 MB,
the line says whether the forecast is within 20 %. Other ways to run are those with every structure's probabilities, in
bfloat16, with three folds whose networks are kept as the worker keeps them, and the second run of a process.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import _models
import _volume
from _process import Meter, answer_if_child, enough_memory, measure
from _record import Entry, Record, parser_of, run

NETWORKS = (*_models.NETWORKS_3D, *_models.NETWORKS_2D)
WAYS = ("plain", "probabilities", "bfloat16", "folds", "warm")
FOLDS = 3
MATTERS, WITHIN = 500e6, 0.2


def _begin(volume: str, way: str, job: dict[str, Any]) -> tuple[Any, ...]:
    """Volume, model, options and kept networks; the process is made warm where that is the way."""
    import mambaseg
    from mambaseg.inference import pipeline  # noqa: F401  (so that it is loaded before the measurement)
    from mambaseg.inference.kept import SHARE, NetworkCache

    model, image = _models.model_of(job, FOLDS if way == "folds" else 1), _volume.load(volume)
    mambaseg.scan.available_backends("cpu")
    precision = "bfloat16" if way == "bfloat16" else "auto"
    options = mambaseg.Options(device="cpu", precision=precision, probabilities=way == "probabilities")
    networks = NetworkCache(SHARE) if way in ("folds", "warm") else None
    if way == "warm":
        mambaseg.segment(image, model, options, networks=networks)
    return image, model, options, networks


def foretell(volume: str, way: str, **job: Any) -> dict[str, Any]:
    """What the forecast says, as a person would ask for it."""
    import mambaseg

    image, model, options, networks = _begin(volume, way, job)
    said = mambaseg.forecast(image, model, options, networks=networks)
    return {"bytes": said.host_bytes, "seconds": said.seconds, "tiles": said.tiles}


def segment(volume: str, way: str, **job: Any) -> dict[str, float]:
    """What the run takes."""
    import mambaseg

    image, model, options, networks = _begin(volume, way, job)
    meter = Meter()
    result = mambaseg.segment(image, model, options, networks=networks)
    answer = meter.answer()
    return {**answer, "network": result.report["timings_s"]["network"]}


def verdict(said: float, found: float) -> str:
    """Whether the forecast of memory holds, where it matters."""
    if found < MATTERS:
        return "small"
    return "within 20 %" if abs(said / found - 1) <= WITHIN else "BEYOND 20 %"


def one_run(record: Record, scale: float, job: dict[str, Any]) -> None:
    """Foretell and measure one run."""
    shape = _volume.grid(scale)[0]
    said = measure(__file__, "foretell", **job)
    if said is None or not enough_memory(said["bytes"], f"{job['network']} {job['size']}"):
        return
    found = measure(__file__, "segment", **job)
    if found is None:
        return
    peak = max(1, found["peak_above_bytes"])
    memory, seconds = said["bytes"] / peak, said["seconds"] / found["total"]
    record.add(
        f"memory {memory:5.2f} ({verdict(said['bytes'], peak)}), time {seconds:5.2f} | {job['network']} {job['size']} "
        f"{job['way']}, "
        f"{_volume.size_text(shape)}, {said['tiles']} passes: said {said['bytes'] / 1e9:.2f} GB, "
        f"{said['seconds']:.1f} s; took {peak / 1e9:.2f} GB, {found['total']:.1f} s",
        {"network": job["network"], "size": job["size"], "way": job["way"], "classes": job["classes"], "scale": scale,
         "shape": list(shape), "said": said, "found": found, "memory_ratio": memory, "time_ratio": seconds,
         "memory_verdict": verdict(said["bytes"], peak)},
    )  # fmt: skip


def main() -> None:
    """Print one line a network, size and volume."""
    answer_if_child({"foretell": foretell, "segment": segment})
    parser = parser_of(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", nargs="+", choices=_models.SIZES, default=["small"])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["plain"])
    parser.add_argument("--classes", type=int, default=14)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.networks, chosen.size, chosen.sizes, chosen.classes = chosen.networks[:1], ["tiny"], [0.1], 3
    record = Record("forecast", chosen)
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "ct.npy")
        for scale in sorted(chosen.sizes):
            _volume.save_phantom(Path(place), scale)
            for network in chosen.networks:
                for size, way in itertools.product(chosen.size, chosen.ways):
                    job = {"volume": place, "network": network, "size": size, "way": way, "classes": chosen.classes}
                    one_run(record, scale, {**job, "target": _volume.TARGET})
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """Forecast against measured, memory and time; the band is 20 % for memory."""
    import _plots

    found = value["figures"]
    figure, panels = _plots.new(
        4.0, 1, 2, "What the forecast says, and what the run takes",
        f"A point is one network, small or full, on one size of CT; on {value['machine']['processor']} "
        f"({value['machine']['cores']} cores)",
    )  # fmt: skip
    for axes, (title, part, unit) in zip(panels[0], _PARTS, strict=True):
        points = [part(entry) for entry in found]
        low, high = min(map(min, points)) / 1.5, max(map(max, points)) * 1.5
        _plots.curves(axes, title, f"taken, {unit}")
        axes.fill_between([low, high], [low * 0.8, high * 0.8], [low * 1.2, high * 1.2], color=_plots.FAINT, lw=0)
        axes.plot([low, high], [low, high], color=_plots.GREY, linewidth=1)
        axes.set(xlim=(low, high), ylim=(low, high))
        for size, colour in (("tiny", _plots.BLUE), ("small", _plots.BLUE), ("full", _plots.VERMILION)):
            chosen = [point for entry, point in zip(found, points, strict=True) if entry["size"] == size]
            if chosen:
                axes.scatter(*zip(*chosen, strict=True), s=22, color=colour, linewidths=0, alpha=0.85)
        _plots.decades(axes)
        ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
        _plots.plain_ticks(axes.xaxis, ticks)
        axes.set_ylabel(f"said, {unit}", fontsize=9, color=_plots.SOFT)
        axes.annotate(
            "equal, and 20 % around it", (0.97, 0.05), xycoords="axes fraction", fontsize=8.5, color=_plots.GREY,
            ha="right",
        )  # fmt: skip
    sizes = {entry["size"] for entry in found}
    colours = {"small": _plots.BLUE, "full": _plots.VERMILION}
    _plots.key(figure, 4.0, [(f"{size} networks", colour) for size, colour in colours.items() if size in sizes])
    _plots.save(figure, place)


def _memory(entry: Entry) -> tuple[float, float]:
    return entry["found"]["peak_above_bytes"] / 1e9, entry["said"]["bytes"] / 1e9


def _seconds(entry: Entry) -> tuple[float, float]:
    return entry["found"]["total"], entry["said"]["seconds"]


_PARTS = (("Peak memory above the start", _memory, "GB"), ("Time", _seconds, "s"))


if __name__ == "__main__":
    run(main)
