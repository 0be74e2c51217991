"""From the scan's kept figures to rows of a table."""

from __future__ import annotations

from _row import Entry, Row, aimed, faster, number

_SCAN_AIM, _SCAN_LENGTH = 5.0, 100_000  # ns a token and channel, at this length


def scan_rows(figures: list[Entry]) -> list[Row]:
    """The scan: each backend at each length and number of channels against the plain loop."""
    alone = next((entry for entry in figures if entry["curve"] == "exp"), {})
    peers = {"": alone.get("ns"), ", in the nearest caches": alone.get("cached_ns")}
    points = [entry for entry in figures if entry["curve"] in ("length", "channels")]
    lengths = [entry["length"] for entry in points if entry["curve"] == "length"]
    rows = []
    for entry in points:
        way = ", forward and backward" if entry["backward"] else ""
        note = "" if entry["reference_length"] == entry["length"] else f" (on {entry['reference_length']:,} tokens)"
        main = entry["curve"] == "length" and entry["backend"] == "numba"
        aimed_at = main and entry["length"] == _SCAN_LENGTH and not entry["backward"]
        main = main and (entry["length"] == max(lengths) or aimed_at)
        rows.append(
            Row(
                f"scan, {entry['length']:,} tokens x {entry['channels']} channels{way}, `{entry['backend']}`",
                faster(entry["ratio"]),
                f"{number(entry['ns'])} ns a token and channel",
                f"the plain loop: {number(entry['reference_ns'])} ns{note}",
                aimed(f"{_SCAN_AIM:g} ns", met=entry["ns"] <= _SCAN_AIM) if aimed_at else "",
                main=main,
            )
        )
        rows += [
            Row(
                f"scan, {entry['length']:,} tokens x {entry['channels']} channels, `{entry['backend']}`",
                faster(ns / entry["ns"]),
                f"{number(entry['ns'])} ns a token and channel",
                f"`torch.exp` alone, for as many exponentials{where}: {number(ns)} ns",
                aimed("1 x", met=entry["ns"] <= ns),
            )
            for where, ns in peers.items()
            if aimed_at and ns is not None
        ]
    return rows + [_beside_row(entry) for entry in figures if entry["curve"] in _BESIDE]


_BESIDE = ("picture", "causal", "own_exp", "profile")


def _beside_row(entry: Entry) -> Row:
    """Pictures and the convolution before the scan, beside what they take the place of."""
    way = ", forward and backward" if entry.get("backward") else ""
    if entry["curve"] == "picture":
        return Row(
            f"scan of a picture in four directions, {entry['edge']} x {entry['edge']} tokens x {entry['channels']} "
            f"channels{way}, `{entry['backend']}`",
            faster(entry["ratio"]),
            f"{number(entry['ns'])} ns a token, channel and direction",
            f"four sequences, turned and flipped: {number(entry['turned_ns'])} ns",
        )
    if entry["curve"] == "profile":
        return Row(
            f"what the scan's time goes to, {entry['length']:,} tokens x {entry['channels']} channels",
            "",
            f"{number(entry['ns'])} ns: the states {number(entry['states'])}, the gate with its bringing in "
            f"{number(entry['gate'])}, softplus {number(entry['softplus'])}, the rest {number(entry['moves'])}",
            f"its exponentials alone, in the nearest caches: {number(entry['exponentials'])} ns",
            main=False,
        )
    if entry["curve"] == "own_exp":
        return Row(
            "the scan's exponential alone, in the nearest caches",
            faster(entry["ratio"]),
            f"{number(entry['ns'])} ns a token and channel",
            f"`torch.exp`: {number(entry['torch_ns'])} ns",
            main=False,
        )
    return Row(
        f"causal convolution with SiLU, {entry['length']:,} tokens x {entry['channels']} channels{way}, "
        f"`{entry['backend']}`",
        faster(entry["ratio"]),
        f"{number(entry['ns'])} ns a token and channel",
        f"torch's convolution and activation: {number(entry['torch_ns'])} ns",
    )
