"""Whole runs, from volume to labels: `mambaseg.segment` beside nnU-Net 2.8.1 around the same network and weights.

    python3 dev.py bench whole [--networks umamba_bot umamba_enc lightm_unet residual_unet demo-phantom ct-head-neck]
                               [--size small full] [--precision float32 bfloat16] [--scale 1] [--classes 14]
                               [--device cuda]

The CT is the phantom at 512x424x300 (0.7x0.7x1.1 mm), the networks work at 1.5 mm. Every run is in a process of its
own. nnU-Net's is its preprocessor, its predictor (which gathers logits in half precision) and its export, around the
same modules as published. "The rest" is everything but the network stage, which on both sides includes building the
network, the tiles and the gathering. Peak memory is counted above what the process held before it began, with all
libraries and the volume loaded.

Labels are compared with those of nnU-Net with float32 accumulators, which is one more run of it (--skip-exact leaves it
out), and with those that it gives as it is. Random weights make noise-like logits with borders everywhere, on which to
agree is a harder test than on a trained model's; so the line also says which part of the plain network's own labels
stays as it is when the input's last bits change (see `_models`), and beside half precision which part stays in
bfloat16. With --last-bits it says which part of nnU-Net's own over the whole CT does, from one more run of it whose
prepared voxels are the next numbers above or below. Trained models have one size and spacing: the bundled
`demo-phantom` and `ct-head-neck`, or packages by their path. Of several folds the first runs, on both sides.

With ``--device cuda`` both sides run there, ours in half precision unless told otherwise, as nnU-Net does there always;
each has run passes of the network, with as many tiles as the run takes at once, before it is timed. Labels are compared
with those of the CPU in float32: nnU-Net's where it is there, and always with ours (--skip-reference leaves that out),
which needs no nnU-Net and takes as long as a run on the CPU does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _models
import _peer
import _volume
from _process import Meter, answer_if_child, enough_memory, measure
from _record import Entry, Record, parser_of, ratio, run
from _row import percent

from mambaseg.errors import OptionError

NETWORKS = (*_models.NETWORKS_3D, _models.DEMO)  # by default
PRECISIONS = ("float32", "bfloat16", "float16")
REFERENCE = "ours_on_cpu"  # whose labels a card's are held against
_AGAINST = {
    "float32": "with float32 accumulators",
    "as_it_is": "as it is",
    REFERENCE: "to ours in float32 on the CPU (aimed at: 99.9 %)",
    "float64": "with the network in float64",
}
_LAST_BITS = "last_bits"


def run_ours(volume: str, labels: str, precision: str, device: str, **job: Any) -> dict[str, Any]:
    """Segment with ours; writes the labels, gives seconds of the stages, tiles and peak."""
    import numpy as np

    import mambaseg
    from mambaseg.inference import pipeline  # noqa: F401  (so that it is loaded before the measurement)

    model, image = _models.model_of(job), _volume.load(volume)
    mambaseg.scan.available_backends(device)
    options = mambaseg.Options(
        device=device,
        precision=precision,  # type: ignore[arg-type]
        folds=model.folds[:1],
        keep_largest=(),  # the peer keeps every piece
    )
    sizes = [] if device == "cpu" else batches(image, model, options, device)
    _warm(model.spec, model.build_network(model.folds[0], device), device, precision, sizes)
    meter = Meter(device)
    result = mambaseg.segment(image, model, options)
    answer = meter.answer()
    np.save(labels, result.labels)
    stages = {name: value for name, value in result.report["timings_s"].items() if name != "total"}
    return {**answer, **stages, "tiles": result.report["tiles"], "backends": dict(result.report["scan_backends"])}


def run_peer(
    volume: str, labels: str, exact: bool, device: str, double: bool = False, last_bits: bool = False, **job: Any
) -> dict[str, Any]:
    """Segment with nnU-Net; writes the labels, gives seconds and the peak.

    The network is in float64 if ``double``, and the prepared image's last bits are others if ``last_bits``.
    """
    import numpy as np
    import torch
    from nnunetv2.inference import export_prediction  # noqa: F401  (so that it is loaded before the measurement)

    import mambaseg

    model, scan = _models.model_of(job), _volume.load(volume)
    mambaseg.scan.available_backends(device)
    state = model.state_dict(model.folds[0])
    sizes = [] if device == "cpu" else [1]
    _warm(model.spec, model.build_network(model.folds[0], device), device, "float16", sizes)
    meter = Meter(device)
    plain = _models.build_plain(model.spec, state)
    plain = _models.in_double(plain) if double else plain
    predictor = _peer.make(model.spec, plain, exact=exact, device=device)
    meter.stage("build")
    data, properties = _peer.preprocess(predictor, scan)
    meter.stage("prepare")
    image = torch.from_numpy(data)
    image = _models.with_other_last_bits(image) if last_bits else image
    logits = predictor.predict_logits_from_preprocessed_data(image).cpu()  # its export is the CPU's
    meter.stage("network")
    found = _peer.export(predictor, logits, properties)
    meter.stage("export")
    answer = meter.answer()
    np.save(labels, found)
    answer["network"] += answer["build"]
    return answer


def batches(image: Any, model: Any, options: Any, device: str, memory: Any = None) -> list[int]:
    """How many tiles a run takes at once, and how many its last pass has left, for which kernels are tuned anew."""
    import torch

    from mambaseg.inference.passes import run_placements
    from mambaseg.inference.preprocess import make_frame
    from mambaseg.inference.tileplan import plan_tiles
    from mambaseg.memory import SystemMemory

    frame = make_frame([image], model.spec)
    tiles = plan_tiles(frame, model.spec.patch_size, options.tile_step)
    order = run_placements(frame, tiles, model, options, torch.device(device), memory or SystemMemory())
    most = order[0].tile_batch
    return sorted({most, len(tiles.tiles) % most or most}, reverse=True)


def _warm(spec: Any, network: Any, device: str, precision: str, sizes: Sequence[int]) -> None:
    """A pass of each size on a card, so that what is compiled and tuned once is in neither side's time."""
    import torch

    half = None if precision == "float32" else getattr(torch, precision)
    kind = torch.device(device).type
    for size in sizes:
        patch = torch.zeros(size, len(spec.channels), *spec.patch_size, device=device)
        with torch.inference_mode(), torch.autocast(kind, dtype=half or torch.float16, enabled=half is not None):
            network(patch)


def shared(labels: Path, other: Path) -> float:
    """The part of the voxels whose labels are equal."""
    import numpy as np

    ours, theirs = np.load(labels, mmap_mode="r"), np.load(other, mmap_mode="r")
    equal = sum(int(np.count_nonzero(a == b)) for a, b in zip(ours, theirs, strict=True))
    return float(equal / ours.size)


def about(labels: Path) -> Entry:
    """How many classes there are, and which part of the voxels lies at a border along columns."""
    import numpy as np

    found = np.load(labels, mmap_mode="r")
    counts = sum(np.bincount(part.reshape(-1), minlength=256) for part in found)
    borders = sum(int(np.count_nonzero(part[:, 1:] != part[:, :-1])) for part in found)
    return {"classes_found": int(np.count_nonzero(counts)), "border": borders / found.size}


def rest(side: Entry) -> float:
    """Seconds of everything but the network stage."""
    return float(side["total"]) - float(side["network"])


def line_of(entry: Entry) -> str:
    """What is printed of a run, ratios first."""
    ours, peer = entry["ours"], entry["peer"]
    name = f"{entry['network']} {entry['size']} {entry['precision']}".replace("  ", " ")
    own = (
        f"{name}, {ours['tiles']} tiles: ours {ours['total']:.1f} s (prepare {ours['prepare']:.2f}, network "
        f"{ours['network']:.2f}, export {ours['export']:.2f}), {ours['peak_above_bytes'] / 1e9:.2f} GB above its "
        f"start, {ours['peak_bytes'] / 1e9:.2f} GB altogether"
    )
    if peer is None:
        return own + "".join(
            f"; {percent(entry['equal'][key])} of the labels equal {_AGAINST[key]}" for key in entry["equal"]
        )
    equal = ", ".join(
        f"{percent(entry['equal'][key])} of the labels equal {words}"
        for key, words in _AGAINST.items()
        if key in entry["equal"]
    )
    if "steady" in entry["labels"]:
        own_rounding = (
            f"{percent(entry['labels']['steady'])} of the plain network's own do not depend on the input's last bits"
        )
        if "half" in entry["labels"] and entry["precision"] == "bfloat16":
            own_rounding += f", {percent(entry['labels']['half'])} stay in bfloat16"
        if "exact" in entry["labels"]:
            own_rounding += f", {percent(entry['labels']['exact'])} are those of float64"
        if "peer_float64" in entry["labels"]:
            own_rounding += f"; of nnU-Net's, {percent(entry['labels']['peer_float64'])} equal those in float64"
        if "peer_last_bits" in entry["labels"]:
            own_rounding += f"; of nnU-Net's, {percent(entry['labels']['peer_last_bits'])} stay when last bits change"
        equal += f" ({own_rounding})"
    return (
        f"the rest {ratio(rest(peer) / rest(ours)).strip()} x, "
        f"network {ratio(peer['network'] / ours['network']).strip()} x, "
        f"whole {ratio(peer['total'] / ours['total']).strip()} x as fast, "
        f"{ours['peak_above_bytes'] / peer['peak_above_bytes']:.2f} of the memory "
        f"({ours['peak_bytes'] / peer['peak_bytes']:.2f} altogether), {equal} | {own}; "
        f"{_peer.NAME} {peer['total']:.1f} s (prepare {peer['prepare']:.2f}, network {peer['network']:.2f}, export "
        f"{peer['export']:.2f}), {peer['peak_above_bytes'] / 1e9:.2f} GB above its start, "
        f"{peer['peak_bytes'] / 1e9:.2f} GB altogether"
    )


def _others(
    folder: Path, job: dict[str, Any], classes: int, common: Entry, target: Any, chosen: Any
) -> tuple[Any, dict[str, Path]]:
    """Measure nnU-Net as it is, and make the labels of everything that ours are held against."""
    peer, places = None, dict[str, Path]()
    kinds = [("as_it_is", False), *([] if chosen.skip_exact else [("float32", True)])]
    for kind, exact in [] if chosen.skip_peer else kinds:
        need = _peer.export_bytes(classes, tuple(common["shape"]), target, exact=exact)
        if not enough_memory(need, f"{_peer.NAME} with {classes} classes"):
            continue
        labels = folder / f"{kind}.npy"
        where = "cpu" if exact else chosen.device
        found = measure(__file__, "peer", labels=str(labels), exact=exact, device=where, **job)
        if found is not None:
            places[kind] = labels
            peer = peer if exact else found
    for kind, wanted, more in ("float64", chosen.double, "double"), (_LAST_BITS, chosen.last_bits, "last_bits"):
        labels = folder / f"{kind}.npy"
        given = {"labels": str(labels), "exact": True, "device": "cpu", more: True, **job}
        need = _peer.export_bytes(classes, tuple(common["shape"]), target, exact=True)
        if not wanted or not enough_memory(need, f"{_peer.NAME} with {classes} classes"):
            continue
        if measure(__file__, "peer", **given) is not None:
            places[kind] = labels
    if chosen.device != "cpu" and not chosen.skip_reference:
        labels = folder / f"{REFERENCE}.npy"
        if measure(__file__, "ours", labels=str(labels), precision="float32", device="cpu", **job) is not None:
            places[REFERENCE] = labels
    return peer, places


def one_network(record: Record, folder: Path, job: dict[str, Any], common: Entry, chosen: Any) -> None:
    """Measure one network in every precision, and both peers once."""
    trained, made = _models.is_trained(job["network"]), {}
    if not trained:
        job["weights"] = str(folder / "weights.pt")
        place = job["weights"]
        rest_of = {key: value for key, value in job.items() if key != "weights"}
        made = measure(__file__, "weights", place=place, half="bfloat16" in chosen.precision, **rest_of)
        if made is None:
            return
    spec = _models.model_of(job).spec if trained else None
    classes = job["classes"] if spec is None else spec.network.num_classes
    target = job["target"] if spec is None else _models.spacing_of(spec)
    peer, places = _others(folder, job, classes, common, target, chosen)
    for precision in chosen.precision:
        labels = folder / "ours.npy"
        ours = measure(__file__, "ours", labels=str(labels), precision=precision, device=chosen.device, **job)
        if ours is None:
            continue
        equal = {kind: shared(labels, place) for kind, place in places.items() if kind != _LAST_BITS}
        for kind in {"float64", _LAST_BITS} & set(places) if "float32" in places else ():
            made[f"peer_{kind}"] = shared(places["float32"], places[kind])
        size = "" if trained else job["size"]
        name = job["network"] if spec is None else spec.id
        entry = {"network": name, "size": size, "precision": precision, "device": chosen.device, "classes": classes,
                 **common, "target": target, "ours": ours, "peer": peer, "equal": equal,
                 "labels": {**about(labels), **made}}  # fmt: skip
        record.add(line_of(entry), entry)


def main() -> None:
    """Print one line a network, size and precision."""
    answer_if_child({"ours": run_ours, "peer": run_peer, "weights": _models.save_weights})
    parser = parser_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="architectures and trained models")
    parser.add_argument("--size", nargs="+", choices=_models.SIZES, default=["small"])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=None)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for both sides")
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the CT's edges that is kept")
    parser.add_argument("--target-spacing", type=float, default=_volume.TARGET, help="mm, where the networks work")
    parser.add_argument("--skip-peer", action="store_true")
    parser.add_argument("--skip-exact", action="store_true", help="no run of nnU-Net with float32 accumulators")
    parser.add_argument("--double", action="store_true", help="one more run of nnU-Net, its network in float64")
    parser.add_argument("--last-bits", action="store_true", help="one more run of it, on an image of other last bits")
    parser.add_argument("--skip-reference", action="store_true", help="no run of ours on the CPU beside a card's")
    chosen = parser.parse_args()
    if chosen.last_bits and (chosen.skip_peer or chosen.skip_exact):
        raise OptionError("--last-bits is held against nnU-Net's own labels. Leave out --skip-peer and --skip-exact.")
    chosen.precision = chosen.precision or (["float32"] if chosen.device == "cpu" else ["float16"])
    for network in filter(_models.is_trained, chosen.networks):
        _models.trained_model(network)  # what is wrong with one is said before hours are spent on others
    unknown = [one for one in chosen.networks if one not in _models.NETWORKS_3D and not _models.is_trained(one)]
    if unknown:
        raise OptionError(
            f"'{unknown[0]}' is neither a network ({', '.join(_models.NETWORKS_3D)}) nor a trained model "
            f"({', '.join(_models.BUNDLED)}, or a package's path)."
        )
    if chosen.quick:
        chosen.networks, chosen.size, chosen.classes, chosen.scale = chosen.networks[:1], ["tiny"], 4, 0.12
    record = Record("whole", chosen)
    if chosen.device != "cpu":
        from _clock import name_of

        record.head["card"] = name_of("cuda")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = _volume.save_phantom(folder / "ct.npy", chosen.scale)
        common = {"shape": list(shape), "scale": chosen.scale, "target": chosen.target_spacing}
        for network in chosen.networks:
            for size in chosen.size[:1] if _models.is_trained(network) else chosen.size:
                job = {"volume": str(folder / "ct.npy"), "network": network, "size": size, "classes": chosen.classes}
                one_network(record, folder, {**job, "target": chosen.target_spacing}, common, chosen)
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """Bars of the rest, the network and the memory of each run."""
    import _plots

    found = value["figures"]
    colours = {"float32": _plots.BLUE, "bfloat16": _plots.GREEN, "float16": _plots.GREEN}
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry["network"], entry["size"]), []).append(entry)
    longest = max(len(group) for group in groups.values()) + 1
    height = 1.15 + 0.26 * longest * len(groups)
    figure, panels = _plots.new(
        height, 1, 3, f"From a CT of {_volume.size_text(found[0]['shape'])} to labels",
        f"The same network and weights on both sides, on {value['machine']['processor']} "
        f"({value['machine']['cores']} cores); logarithmic scales",
    )  # fmt: skip
    names = sorted({entry["precision"] for entry in found}, key=PRECISIONS.index)
    ours = [("ours" if name == "float32" else f"ours, {name}", colours[name]) for name in names]
    _plots.key(figure, height, [*ours, (_peer.NAME, _plots.VERMILION)])
    for index, (title, part, unit) in enumerate(_PARTS):
        rows = []
        for (network, size), entries in groups.items():
            bars = [(part(e["ours"]), colours[e["precision"]], f"{part(e['ours']):.3g} {unit}") for e in entries]
            if entries[0]["peer"]:
                bars.append((part(entries[0]["peer"]), _plots.VERMILION, f"{part(entries[0]['peer']):.3g} {unit}"))
            rows.append((f"{network}\n{size}".strip(), bars))
        _plots.bars(panels[0][index], title, rows, names=index == 0)
    _plots.save(figure, place)


def _network(side: Entry) -> float:
    return float(side["network"])


def _memory(side: Entry) -> float:
    return float(side["peak_above_bytes"]) / 1e9


_PARTS = (
    ("All but the network", rest, "s"),
    ("The network", _network, "s"),
    ("Peak memory above the start", _memory, "GB"),
)


if __name__ == "__main__":
    run(main)
