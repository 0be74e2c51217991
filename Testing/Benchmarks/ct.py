"""Time and memory of each stage on a 512x424x300 CT (the phantom, 0.7x0.7x1.1 mm; network at 1.5 mm), beside nnU-Net.

    python3 dev.py bench ct [--classes 2 14 61] [--sizes 0.25 0.5 1] [--stages prepare network export whole]

Each stage runs in a process of its own, so that its peak memory is its own. Both sides get the same input, the same
network (a small U-Mamba Bot with random weights) and, for the export, the same random logits. `whole` is our engine
alone, from volume to labels (`bench whole` sets it beside nnU-Net's). `--sizes` are fractions of the scan's edges. The
curve over sizes is made with the middle number of classes, the one over classes at the largest size; there the stages
that do not depend on them, `prepare` and `network`, run with the middle number only.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import _models
import _peer
import _volume
from _process import Meter, answer_if_child, enough_memory, measure
from _record import Entry, Record, parser_of, ratio, run

STAGES = ("prepare", "network", "export", "whole")
SIDES = ("ours", "nnU-Net")


def random_logits(classes: int, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """The same logits for both sides, each in the type it works with, without a second copy."""
    import torch

    logits = torch.empty(classes, *shape, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    for one in logits:
        one.copy_(torch.empty(shape).normal_(generator=generator))
    return logits


def run_ours(stage: str, volume: str, **job: Any) -> dict[str, float]:
    """Cost of one stage of ours; what comes before it is done before the measurement begins."""
    import mambaseg
    from mambaseg.inference.pipeline import Inferred, Run
    from mambaseg.inference.progress import Reporter

    model, image = _models.model_of(job), _volume.load(volume)
    mambaseg.scan.available_backends("cpu")
    run = Run(model, mambaseg.Options(device="cpu"), Reporter())
    prepared = None
    if stage in ("network", "export"):
        prepared = run.prepare([image])
        run.resample(prepared)
    if stage == "export":
        prepared.image = None
        logits = random_logits(job["classes"], prepared.frame.there.new)
        inferred = Inferred(prepared, logits)
        del logits
    meter = Meter()
    if stage == "prepare":
        run.resample(run.prepare([image]))
    elif stage == "network":
        run.network(prepared)
    elif stage == "export":
        run.export(inferred)
    else:
        mambaseg.segment(image, model, mambaseg.Options(device="cpu"))
    return meter.answer()


def run_peer(stage: str, volume: str, **job: Any) -> dict[str, float]:
    """Cost of one stage of nnU-Net's."""
    import torch
    from nnunetv2.inference import export_prediction  # noqa: F401  (so that it is loaded before the measurement)

    from mambaseg import scan

    spec = _models.make_spec(job["network"], job["size"], job["classes"], job["target"])
    image = _volume.load(volume)
    scan.available_backends("cpu")
    predictor = _peer.make(spec, _models.build_plain(spec))
    grid = _volume.network_grid(image.shape, target=job["target"])
    # nnU-Net gathers its logits in half precision, so that is what its own export gets
    logits = random_logits(job["classes"], grid, torch.half) if stage == "export" else None
    prepared = torch.from_numpy(_peer.preprocess(predictor, image)[0]) if stage == "network" else None
    properties = {
        "spacing": list(image.geometry.spacing[::-1]), "shape_before_cropping": image.shape,
        "shape_after_cropping_and_before_resampling": image.shape,
        "bbox_used_for_cropping": [[0, n] for n in image.shape],
    }  # fmt: skip
    meter = Meter()
    if stage == "prepare":
        _peer.preprocess(predictor, image)
    elif stage == "network":  # building it included, as on our side
        predictor = _peer.make(spec, _models.build_plain(spec))
        predictor.predict_logits_from_preprocessed_data(prepared)
    else:
        _peer.export(predictor, logits, properties)
    return meter.answer()


def one_stage(record: Record, stage: str, scale: float, job: dict[str, Any], *, peer: bool) -> None:
    """Measure a stage on both sides and print one line."""
    shape, classes = _volume.grid(scale)[0], job["classes"]
    peer = peer and stage != "whole"
    what = f"{_peer.NAME}'s export of {classes} classes"
    if peer and stage == "export":
        peer = enough_memory(_peer.export_bytes(classes, shape, job["target"]), what)
    ours = measure(__file__, "ours", stage=stage, **job)
    theirs = measure(__file__, "peer", stage=stage, **job) if peer else None
    if ours is None:
        return
    name = f"{stage:>8}, {classes} classes, {_volume.size_text(shape)}"
    line = f"{name}: ours {ours['total']:7.2f} s, peak {ours['peak_bytes'] / 1e9:5.2f} GB"
    if theirs is not None:
        line = (
            f"{ratio(theirs['total'] / ours['total'])} x as fast, "
            f"{ours['peak_bytes'] / theirs['peak_bytes']:.2f} of the memory | {line}; "
            f"{_peer.NAME} {theirs['total']:7.2f} s, peak {theirs['peak_bytes'] / 1e9:5.2f} GB"
        )
    record.add(
        line,
        {"stage": stage, "classes": classes, "scale": scale, "shape": list(shape), "ours": ours, "peer": theirs},
    )


def main() -> None:
    """Print one line a stage, number of classes and size."""
    answer_if_child({"ours": run_ours, "peer": run_peer})
    parser = parser_of(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 14, 61])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--skip-peer", action="store_true")
    chosen = parser.parse_args()
    size = "small"
    if chosen.quick:
        chosen.classes, chosen.sizes, size = [2, 3], [0.08], "tiny"
    record = Record("ct", chosen)
    middle, largest = sorted(chosen.classes)[len(chosen.classes) // 2], max(chosen.sizes)
    with tempfile.TemporaryDirectory() as folder:
        for scale in sorted(chosen.sizes):
            place = Path(folder) / "ct.npy"
            began = time.perf_counter()
            shape = _volume.save_phantom(place, scale)
            print(f"phantom of {_volume.size_text(shape)} made in {time.perf_counter() - began:.1f} s", flush=True)
            for classes in sorted(chosen.classes) if scale == largest else [middle]:
                job = {"volume": str(place), "network": "umamba_bot", "size": size, "classes": classes}
                job["target"] = _volume.TARGET
                for stage in chosen.stages:
                    if classes == middle or stage in ("export", "whole"):
                        one_stage(record, stage, scale, job, peer=not chosen.skip_peer)
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """Bars of the stages at the largest size; below them curves over classes and sizes."""
    import _plots

    found = value["figures"]
    largest = max(entry["scale"] for entry in found)
    classes = sorted({entry["classes"] for entry in found})
    middle = classes[len(classes) // 2]
    curves = _curves(found, largest, middle)
    stages = [entry for entry in found if entry["scale"] == largest and entry["classes"] == middle] or found
    height = 0.8 + 0.4 + 0.52 * len(stages) + 2.5 * len(curves)
    figure, panels = _plots.new(
        height, 1 + len(curves), 2, f"One CT of {_volume.size_text(stages[0]['shape'])}, stage by stage",
        f"{middle} classes, each stage in a process of its own, on {value['machine']['processor']} "
        f"({value['machine']['cores']} cores); logarithmic scales",
    )  # fmt: skip
    figure.axes[0].get_gridspec().set_height_ratios([0.4 + 0.52 * len(stages), *[2.5] * len(curves)])
    _plots.key(figure, height, [("ours", _plots.BLUE), (_peer.NAME, _plots.VERMILION)])
    for axes, part, title in zip(panels[0], _PARTS, ("Time", "Peak memory"), strict=True):
        rows = []
        for entry in stages:
            sides = [(part(entry["ours"]), _plots.BLUE, _text(entry["ours"], part))]
            if entry["peer"]:
                sides.append((part(entry["peer"]), _plots.VERMILION, _text(entry["peer"], part)))
            rows.append((entry["stage"], sides))
        _plots.bars(axes, title, rows, names=axes is panels[0][0])
    for row, ((stage, kind), entries) in zip(panels[1:], curves.items(), strict=True):
        for axes, part, unit in zip(row, _PARTS, ("seconds", "peak memory in GB"), strict=True):
            _plots.curves(axes, f"{stage.capitalize()}, {unit}", _ACROSS[kind])
            x = [_x(entry, kind) for entry in entries]
            ends = []
            for side, name, colour in (("ours", "ours", _plots.BLUE), ("peer", "nnU-Net", _plots.VERMILION)):
                points = [(at, part(e[side])) for at, e in zip(x, entries, strict=True) if e[side]]
                if points:
                    axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, marker="o", markersize=3.5)
                    ends.append((name, colour, *points[-1]))
            _plots.plain_ticks(axes.xaxis, x)
            _plots.decades(axes)
            _plots.name_ends(axes, ends, 0.2)
    _plots.save(figure, place)


def _curves(found: list[Entry], largest: float, middle: int) -> dict[tuple[str, str], list[Entry]]:
    """The entries of a stage along each curve that has at least two points: classes (export) and sizes (all)."""
    exports = [entry for entry in found if entry["stage"] == "export" and entry["scale"] == largest]
    curves = {("export", "classes"): sorted(exports, key=lambda e: e["classes"])}
    for stage in ("prepare", "network", "export"):
        sizes = [entry for entry in found if entry["stage"] == stage and entry["classes"] == middle]
        curves[stage, "size"] = sorted(sizes, key=lambda e: e["scale"])
    return {kind: entries for kind, entries in curves.items() if len(entries) > 1}


def _x(entry: Entry, kind: str) -> float:
    return entry["classes"] if kind == "classes" else _volume.voxels(entry["shape"])


def _seconds(side: Entry) -> float:
    return float(side["total"])


def _gigabytes(side: Entry) -> float:
    return float(side["peak_bytes"]) / 1e9


def _text(side: Entry, part: Any) -> str:
    return f"{_seconds(side):.3g} s" if part is _seconds else f"{_gigabytes(side):.2f} GB"


_PARTS = (_seconds, _gigabytes)
_ACROSS = {"classes": "classes", "size": "voxels of the CT"}


if __name__ == "__main__":
    run(main)
