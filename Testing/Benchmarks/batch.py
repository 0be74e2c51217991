"""A cohort: `segment_batch` beside a loop of reading, `segment` and writing, in cases an hour.

    python3 dev.py bench batch [--cases 8] [--scale 0.35] [--network demo-phantom]

The cases are phantoms of different people, written as NIfTI. Both ways run in processes of their own on the same files
and write `.seg.nrrd`; the loop is what a person would write in a script. Then the labels of both are compared.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import _models
import _volume
from _process import Meter, answer_if_child, measure
from _record import Entry, Record, parser_of, ratio, run

from mambaseg.errors import ResourceError

WAYS = {"batch": "segment_batch", "loop": "the loop"}


def _start(job: dict[str, Any]) -> Any:
    """The model, with everything loaded that a run needs."""
    import mambaseg
    from mambaseg import batch, io  # noqa: F401  (so that they are loaded before the measurement)
    from mambaseg.inference import pipeline  # noqa: F401

    mambaseg.scan.available_backends("cpu")
    return _models.model_of(job)


def run_batch(cases: str, output: str, **job: Any) -> dict[str, float]:
    """Segment the folder by `segment_batch`."""
    import mambaseg

    model = _start(job)
    meter = Meter()
    summary = mambaseg.segment_batch(cases, output, model, mambaseg.Options(device="cpu"))
    answer = meter.answer()
    if not summary.ok:
        raise ResourceError(summary.sentence())
    return answer


def run_loop(cases: str, output: str, **job: Any) -> dict[str, float]:
    """Segment the folder by a loop."""
    import mambaseg

    model = _start(job)
    meter = Meter()
    for path in sorted(Path(cases).iterdir()):
        result = mambaseg.segment(mambaseg.read_volume(path), model, mambaseg.Options(device="cpu"))
        mambaseg.write_segmentation(result, Path(output) / f"{path.name.removesuffix('.nii.gz')}.seg.nrrd")
    return meter.answer()


def same_labels(first: Path, second: Path) -> bool:
    """Whether both folders hold the same segmentations."""
    import numpy as np
    import SimpleITK as sitk

    names = sorted(path.name for path in first.glob("*.seg.nrrd"))
    if names != sorted(path.name for path in second.glob("*.seg.nrrd")):
        return False

    def labels(place: Path) -> Any:
        return sitk.GetArrayViewFromImage(sitk.ReadImage(str(place)))

    return all(np.array_equal(labels(first / name), labels(second / name)) for name in names)


def main() -> None:
    """Print one line."""
    answer_if_child({"batch": run_batch, "loop": run_loop, "weights": _models.save_weights})
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--scale", type=float, default=0.35, help="part of the 512x424x300 CT's edges")
    parser.add_argument("--network", choices=(_models.DEMO, *_models.NETWORKS_3D), default=_models.DEMO)
    parser.add_argument("--size", choices=_models.SIZES, default="small")
    parser.add_argument("--repeats", type=int, default=2, help="of each way; the best counts")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.cases, chosen.scale, chosen.repeats = 2, 0.08, 1
    record = Record("batch", chosen)
    job = {"network": chosen.network, "size": chosen.size, "classes": 14, "target": _volume.TARGET}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = _cohort(folder / "cases", chosen.cases, chosen.scale)
        best: dict[str, Entry] = {}
        for repeat in range(max(1, chosen.repeats)):
            for way, title in WAYS.items():
                output = folder / f"{way}-{repeat}"
                output.mkdir()
                began = time.perf_counter()
                found = measure(__file__, way, cases=str(folder / "cases"), output=str(output), **job)
                if found is None:
                    raise ResourceError(f"{title} could not be measured; why stands above.")
                print(f"  {title}: {found['total']:.1f} s ({time.perf_counter() - began:.1f} s with the start)")
                if way not in best or found["total"] < best[way]["total"]:
                    best[way] = found
        same = same_labels(folder / "batch-0", folder / "loop-0")
    ours, loop = best["batch"], best["loop"]
    hourly = {way: 3600 * chosen.cases / found["total"] for way, found in best.items()}
    record.add(
        f"{ratio(loop['total'] / ours['total'])} x | {chosen.cases} cases of {_volume.size_text(shape)}, "
        f"{chosen.network}: segment_batch {hourly['batch']:.0f} cases an hour, peak "
        f"{ours['peak_above_bytes'] / 1e9:.2f} GB above its start; the loop {hourly['loop']:.0f}, "
        f"{loop['peak_above_bytes'] / 1e9:.2f} GB; "
        f"labels {'equal' if same else 'DIFFER'}",
        {"network": chosen.network, "size": "" if chosen.network == _models.DEMO else chosen.size,
         "cases": chosen.cases, "shape": list(shape), "ours": ours, "loop": loop,
         "ratio": loop["total"] / ours["total"], "cases_an_hour": hourly, "same_labels": same},
    )  # fmt: skip
    record.finish(draw)


def _cohort(folder: Path, cases: int, scale: float) -> _volume.Shape:
    """Write the phantoms; gives their shape."""
    from mambaseg.io import write_volume
    from mambaseg.phantom import make_phantom

    folder.mkdir()
    shape, spacing = _volume.grid(scale)
    for seed in range(cases):
        scan = make_phantom(shape=shape, spacing=spacing, seed=seed).volume
        write_volume(scan.voxels, scan.geometry, folder / f"case{seed:03}.nii.gz")
    return shape


def draw(value: Entry, place: Path) -> None:
    """Two bars: cases an hour."""
    import _plots

    entry = value["figures"][0]
    rows = [
        (WAYS[way], [(entry["cases_an_hour"][way], colour, f"{entry['cases_an_hour'][way]:.0f} cases an hour")])
        for way, colour in (("batch", _plots.BLUE), ("loop", _plots.GREY))
    ]
    figure, panels = _plots.new(
        1.7, 1, 1, f"A cohort of {entry['cases']} cases",
        f"{_volume.size_text(entry['shape'])} voxels, {entry['network']}, on {value['machine']['processor']} "
        f"({value['machine']['cores']} cores); higher is better",
    )  # fmt: skip
    _plots.bars(panels[0][0], "", rows, logarithmic=False)
    _plots.save(figure, place)


if __name__ == "__main__":
    run(main)
