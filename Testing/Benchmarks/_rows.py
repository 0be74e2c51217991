"""From kept figures to rows of a table, for each benchmark."""

from __future__ import annotations

from collections.abc import Callable

from _row import Entry, Row, aimed, faster, gigabytes, number, of_memory, percent, seconds
from _scan_rows import scan_rows
from _volume import size_text

PEER = "nnU-Net 2.8.1"
_CT_AIMS = {("prepare", 14): (4.0, None), ("export", 14): (7.0, None), ("export", 61): (30.0, 4e9)}  # seconds, bytes
_START_AIM = 0.3  # seconds


def ct_rows(figures: list[Entry]) -> list[Row]:
    """The stages, each in a process of its own."""
    largest = max(entry["scale"] for entry in figures)
    rows = []
    for entry in figures:
        ours, peer = entry["ours"], entry["peer"]
        what = f"{entry['stage']}, {entry['classes']} classes, {size_text(entry['shape'])}"
        own = f"{seconds(ours['total'])}, {gigabytes(ours['peak_bytes'])}"
        if peer is None:
            said = "" if entry["stage"] == "whole" else "not run"
            rows.append(Row(what, "", own, said, main=False))
            continue
        rows.append(
            Row(
                what,
                f"{faster(peer['total'] / ours['total'])}, {of_memory(ours['peak_bytes'] / peer['peak_bytes'])}",
                own,
                f"{PEER}: {seconds(peer['total'])}, {gigabytes(peer['peak_bytes'])}",
                _ct_aim(entry),
                main=entry["scale"] == largest and entry["stage"] in ("prepare", "export"),
            )
        )
    return rows


def _ct_aim(entry: Entry) -> str:
    """What was aimed at for this stage of the whole CT."""
    most, memory = _CT_AIMS.get((entry["stage"], entry["classes"]), (None, None))
    if most is None or entry["scale"] != 1:
        return ""
    aims = [aimed(f"{most:g} s", met=entry["ours"]["total"] <= most)]
    aims += [] if memory is None else [aimed(gigabytes(memory), met=entry["ours"]["peak_bytes"] <= memory)]
    return ", ".join(aims)


def whole_rows(figures: list[Entry]) -> list[Row]:
    """Whole runs: the rest, the network, the memory, and the labels."""
    rows = []
    for entry in figures:
        ours, peer, equal = entry["ours"], entry["peer"], entry["equal"]
        name = " ".join(part for part in (f"`{entry['network']}`", entry["size"], entry["precision"]) if part)
        at = f" at {_spacing(entry['target'])} mm" + (", random weights" if entry["size"] else ", trained")
        at += "" if entry.get("device", "cpu") == "cpu" else " on the card"
        what = f"{name}{at}, {size_text(entry['shape'])}, {ours['tiles']} tile{'s' * (ours['tiles'] != 1)}"
        if peer is None:
            own = f"{seconds(ours['total'])}, {gigabytes(ours['peak_above_bytes'])}"
            rows.append(Row(f"{what}: whole run", "", own, "not run", main=False))
            rows += _label_rows(
                entry, what, f"{entry['labels']['classes_found']} of {entry['classes']} classes occur", ""
            )
            continue
        parts = {side: values["total"] - values["network"] for side, values in (("ours", ours), ("peer", peer))}
        rest, network = parts["peer"] / parts["ours"], peer["network"] / ours["network"]
        memory = ours["peak_above_bytes"] / peer["peak_above_bytes"]
        wanted, asked = (0.9999, "99.99 %") if entry["precision"] == "float32" else (0.999, "99.9 %")
        about = f"{entry['labels']['classes_found']} of {entry['classes']} classes occur"
        if "steady" in entry["labels"]:
            about += (
                f"; when the input's last bits change, {percent(entry['labels']['steady'])} stay in the plain network"
            )
        if "exact" in entry["labels"]:
            about += f", and {percent(entry['labels']['exact'])} are those of the network in float64"
        borders = ""
        if "border" in entry["labels"]:
            borders = f"{percent(entry['labels']['border'])} of the voxels lie at a border"
            about += f"; {borders}"
        labels = ""
        if "float32" in equal:
            among = f" ({borders})" if borders and not entry["size"] else _own_rounding(entry)
            labels = f", labels **{percent(equal['float32'])}** equal{among}"
        aims = [aimed("5 x", met=rest >= 5), aimed("1 x", met=network >= 1), aimed("0.5", met=memory <= 0.5)]
        aims += [aimed(asked, met=equal["float32"] >= wanted)] if labels else []
        rows += [
            Row(f"a whole run, {what}",
                f"all but the network **{number(rest)} x**, the network **{number(network)} x** as fast, "
                f"**{memory:.2f}** of the memory{labels}",
                f"{seconds(parts['ours'])} + {seconds(ours['network'])}, {gigabytes(ours['peak_above_bytes'])}",
                f"{PEER}: {seconds(parts['peer'])} + {seconds(peer['network'])}, "
                f"{gigabytes(peer['peak_above_bytes'])}", ", ".join(aims)),
            Row(f"{what}: all but the network", faster(rest), seconds(parts["ours"]),
                f"{PEER}: {seconds(parts['peer'])}", aimed("5 x", met=rest >= 5), main=False),
            Row(f"{what}: the network", faster(network), seconds(ours["network"]),
                f"{PEER}: {seconds(peer['network'])}", aimed("1 x", met=network >= 1), main=False),
            Row(f"{what}: peak memory above the start", of_memory(memory), gigabytes(ours["peak_above_bytes"]),
                f"{PEER}: {gigabytes(peer['peak_above_bytes'])}", aimed("0.5", met=memory <= 0.5), main=False),
            Row(f"{what}: peak memory altogether", of_memory(ours["peak_bytes"] / peer["peak_bytes"]),
                gigabytes(ours["peak_bytes"]), f"{PEER}: {gigabytes(peer['peak_bytes'])}", main=False),
            Row(f"{what}: whole run", faster(peer["total"] / ours["total"]), seconds(ours["total"]),
                f"{PEER}: {seconds(peer['total'])}", main=False),
        ]  # fmt: skip
        rows += _label_rows(entry, what, about, aimed(asked, met=equal.get("float32", 0) >= wanted))
    return rows


def _label_rows(entry: Entry, what: str, about: str, aim: str) -> list[Row]:
    """Which part of a run's labels are those of each other side."""
    equal, theirs = entry["equal"], entry["labels"].get("peer_float64")
    others = {
        "float32": (f"{PEER} with float32 accumulators{_own_rounding(entry)}", aim),
        "as_it_is": (f"{PEER} as it is", ""),
        "float64": (f"{PEER} with the network in float64; its own in float32: {percent(theirs or 0)}", ""),
        "ours_on_cpu": ("ours in float32 on the CPU", aimed("99.9 %", met=equal.get("ours_on_cpu", 0) >= 0.999)),
    }
    return [
        Row(f"{what}: labels", f"**{percent(equal[kind])}** equal", about, words, wanted, main=kind == "ours_on_cpu")
        for kind, (words, wanted) in others.items()
        if kind in equal
    ]


def _own_rounding(entry: Entry) -> str:
    """Which part of the labels rounding leaves alone without us, where that was measured."""
    if entry["precision"] == "bfloat16" and "half" in entry["labels"]:
        return f" (the plain network's own of one patch, in bfloat16: {percent(entry['labels']['half'])})"
    stays = entry["labels"].get("peer_last_bits")
    return "" if stays is None else f" (nnU-Net's own, when its image's last bits change: {percent(stays)})"


def _spacing(target: float | list[float]) -> str:
    """A spacing as people write it, columns first."""
    edges = [target] if isinstance(target, (int, float)) else target
    return " x ".join(f"{edge:g}" for edge in (reversed(edges) if len(set(edges)) > 1 else edges[:1]))


_FORECAST_WAYS = {
    "plain": "",
    "probabilities": ", probabilities too",
    "bfloat16": ", bfloat16",
    "folds": ", three folds kept",
    "warm": ", the second run",
}


def forecast_rows(figures: list[Entry]) -> list[Row]:
    """Forecast and run; one row sums up those that matter."""
    rows = []
    heavy = [entry for entry in figures if entry["memory_verdict"] != "small"]
    if heavy:
        good = sum(entry["memory_verdict"].startswith("within") for entry in heavy)
        worst = max(heavy, key=lambda entry: abs(entry["memory_ratio"] - 1))
        rows.append(
            Row("forecast of memory, runs above 500 MB", f"**{good} of {len(heavy)}** within 20 %",
                f"at worst {gigabytes(worst['said']['bytes'])} said",
                f"{gigabytes(worst['found']['peak_above_bytes'])} taken (`{worst['network']}` {worst['size']}, "
                f"{size_text(worst['shape'])}{_FORECAST_WAYS[worst.get('way', 'plain')]})",
                aimed("all", met=good == len(heavy)))
        )  # fmt: skip
    rows.extend(
            Row(f"forecast, `{entry['network']}` {entry['size']}, {size_text(entry['shape'])}"
                f"{_FORECAST_WAYS[entry.get('way', 'plain')]}",
                f"memory **{entry['memory_ratio']:.2f}**, time **{entry['time_ratio']:.2f}** of what was taken",
                f"said {gigabytes(entry['said']['bytes'])}, {seconds(entry['said']['seconds'])}",
                f"taken {gigabytes(entry['found']['peak_above_bytes'])}, {seconds(entry['found']['total'])}",
                main=False)
        for entry in figures
    )  # fmt: skip
    return rows


def start_rows(figures: list[Entry]) -> list[Row]:
    """Commands and the worker."""
    rows = []
    peer = next((entry for entry in figures if entry["what"].startswith("nnUNet")), None)
    for entry in figures:
        if entry["what"] == "worker":
            rows.append(
                Row("second request to a warm worker", faster(entry["ratio"]), seconds(entry["second_s"]),
                    f"the first request: {seconds(entry['first_s'])}")
            )  # fmt: skip
            rows.append(Row("a worker says that it is ready", "", seconds(entry["ready_s"]), "", main=False))
        elif "mambaseg" in entry["what"]:
            against = "" if peer is None else f"`{peer['what']}`: {seconds(peer['best_s'])}"
            said = "torch not imported" if not entry["torch"] else "**torch imported**"
            rows.append(
                Row(f"`{entry['what']}`", faster(entry["ratio"]) if entry["ratio"] else "",
                    f"{seconds(entry['best_s'])} (median {seconds(entry['median_s'])}), {said}", against,
                    aimed(seconds(_START_AIM), met=entry["best_s"] <= _START_AIM and not entry["torch"])
                    if entry["what"].endswith("--help") else "")
            )  # fmt: skip
        elif entry is not peer:
            rows.append(Row(f"`{entry['what']}`", "", "", seconds(entry["best_s"]), main=False))
    return rows


def batch_rows(figures: list[Entry]) -> list[Row]:
    """Cohorts."""
    return [
        Row(f"`segment_batch`, {entry['cases']} cases of {size_text(entry['shape'])}, `{entry['network']}`",
            faster(entry["ratio"]), f"{number(entry['cases_an_hour']['batch'])} cases an hour, "
            f"{gigabytes(entry['ours']['peak_above_bytes'])}",
            f"reading, `segment` and writing in a loop: {number(entry['cases_an_hour']['loop'])}, "
            f"{gigabytes(entry['loop']['peak_above_bytes'])}"
            + ("" if entry["same_labels"] else "; **labels differ**"))
        for entry in figures
    ]  # fmt: skip


_CARD_AIMS = {  # peer and way, for long sequences
    ("mamba_ssm", "forward"): 5.0,
    ("mamba_ssm", "backward"): 2.0,
    ("card", "forward"): 0.6,
}
_ELSEWHERE = 0.8  # of the published kernel, there and back, at shorter lengths and with more channels
_LONG, _FEW = 1_000_000, 128
_AT_ONCE = {"replayed": "replayed as a CUDA graph", "compiled": "compiled by torch.compile"}
_PEERS = {"mamba_ssm": "the published kernel", "card": "what the card can"}
_LAYERS = {"published": "the published layer and kernel", "mamba_ssm": "our layers around the published kernel"}
_WAYS = {"forward": "", "backward": ", backward alone", "both": ", forward and backward"}


def card_rows(figures: list[Entry]) -> list[Row]:
    """The scan and whole patches on a card; in the README what is long as our layers lay it out, and every patch."""
    rows = []
    elsewhere: dict[str, list[Entry]] = {}
    for entry in figures:
        if entry["curve"] == "able":
            continue
        if entry["curve"] in _AT_ONCE:
            rows.append(
                Row(f"{entry['what']}, {_AT_ONCE[entry['curve']]}", faster(entry["ratio"]), seconds(entry["seconds"]),
                    f"started kernel by kernel: {seconds(entry['peer_seconds'])}")
            )  # fmt: skip
            continue
        if entry["curve"] == "patch":
            aim = entry["peer"] == "published" and entry["network"] == "umamba_enc"
            rows.append(
                Row(f"a patch of `{entry['network']}` {entry['size']} on the card, half precision",
                    faster(entry["ratio"]), seconds(entry["seconds"]),
                    f"{_LAYERS.get(entry['peer'], 'with `' + entry['peer'] + '`')}: {seconds(entry['peer_seconds'])}",
                    aimed("2 x", met=entry["ratio"] >= 2) if aim else "")
            )  # fmt: skip
            continue
        peer, way = entry["peer"], entry["way"]
        long = entry["length"] >= _LONG and entry["channels"] <= _FEW
        aim = _CARD_AIMS.get((peer, way), 0.0) if long and entry["used"] else 0.0
        if peer == "mamba_ssm" and way != "both" and entry["used"] and not long:
            aim = _ELSEWHERE
            elsewhere.setdefault(way, []).append(entry)
        share = f"**{100 * entry['ratio']:.0f} %** of" if peer == "card" else faster(entry["ratio"])
        size = f"{entry['length']:,} tokens x {entry['channels']} channels{_WAYS[way]}, {entry['layout']}"
        rows.append(
            Row(f"scan on the card, {size}{' as in our layers' if entry['used'] else ''}, `triton`", share,
                f"{entry['ns']:.4f} ns a token and channel", f"{_PEERS.get(peer, f'`{peer}`')}: "
                f"{entry['peer_ns']:.4f} ns", aimed(f"{aim:g} x", met=entry["ratio"] >= aim) if aim else "",
                main=long and entry["used"] and entry["curve"] == "length")
        )  # fmt: skip
    return rows + [_worst(way, entries) for way, entries in elsewhere.items()]


def _worst(way: str, entries: list[Entry]) -> Row:
    """The one of shorter or wider scans that is slowest beside the published kernel."""
    worst = min(entries, key=lambda entry: float(entry["ratio"]))
    return Row(
        f"scan on the card, {len(entries)} shorter or wider ones{_WAYS[way]}: at worst "
        f"({worst['length']:,} tokens x {worst['channels']} channels)", faster(worst["ratio"]),
        f"{worst['ns']:.4f} ns a token and channel", f"the published kernel: {worst['peer_ns']:.4f} ns",
        aimed(f"{_ELSEWHERE:g} x", met=worst["ratio"] >= _ELSEWHERE),
    )  # fmt: skip


ROWS: dict[str, Callable[[list[Entry]], list[Row]]] = {
    "whole": whole_rows,
    "ct": ct_rows,
    "scan": scan_rows,
    "card": card_rows,
    "batch": batch_rows,
    "start": start_rows,
    "forecast": forecast_rows,
}
"""Benchmarks in the order of the table."""
