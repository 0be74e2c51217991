"""The README's table of all networks on all sets, made from the records of the comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing
from mambaseg_train.compare.record import RECORD, read_record
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import measure, short_title

BEGIN, END = "<!-- networks: begin -->", "<!-- networks: end -->"
_HASH = 12  # digits that stand in the text; the records have all


def read_records(folder: Path) -> tuple[dict[str, Any], ...]:
    """Records of the comparisons kept in the folders below ``folder``, in the order of their names.

    Raises
    ------
    DataError
        If there is none, or one is damaged.
    """
    found = tuple(read_record(path) for path in sorted(folder.glob(f"*/{RECORD}")))
    if not found:
        raise DataError(f"There is no comparison in '{folder}'. Copy folders of `mambaseg-train compare` into it.")
    return found


def block(records: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the markers."""
    lines = [BEGIN, "", "Made by `mambaseg-train table` from the records of `mambaseg-train compare`.", ""]
    for record in records:
        lines += [*one(record), ""]
    return "\n".join([*lines, END])


def one(record: Mapping[str, Any]) -> list[str]:
    """Lines on one comparison: its setting, a row a network, and what must be known of it."""
    keys = record["measures"]
    head = ["network"]
    for key in keys:
        head += [f"{_titled(key, record)}, mean ± SD", "minus control (95 %)"]
    head += ["parameters", "operations a patch", "seconds a step"]
    rows = [_row(item, keys, first=not place) for place, item in enumerate(record["networks"])]
    return [
        f"**{record['title']}**, {record['configuration']}: {_setting(record)}",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)),
        "",
        record["note"],
    ]


def _titled(key: str, record: Mapping[str, Any]) -> str:
    return f"{short_title(key)} [{record['unit']}]" if measure(key).is_distance else short_title(key)


def _setting(record: Mapping[str, Any]) -> str:
    networks = record["networks"]
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in record["sizes"].items())
    judged = f"folds {', '.join(map(str, record['folds']))}" if record["folds"] else "held-out"
    seeds = ", ".join(map(str, record["seeds"]))
    return (
        f"{record['cases']} {judged} cases; {_each(networks, 'steps')} steps of {_each(networks, 'batch')} patches of "
        f"{_each(networks, 'patch')}; {settings}; {sizes}; seed{'s' if len(record['seeds']) > 1 else ''} {seeds}; "
        f"split `{record['split_sha256'][:_HASH]}`; {_each(networks, 'device')}; {record['date']}."
    )


def _each(networks: Sequence[Mapping[str, Any]], key: str) -> str:
    """A value that all networks share, or all that they have."""
    texts = (" x ".join(map(str, item[key])) if isinstance(item[key], list) else str(item[key]) for item in networks)
    return " or ".join(dict.fromkeys(texts))


def _row(item: Mapping[str, Any], keys: Sequence[str], *, first: bool) -> list[str]:
    cells = [item["title"]]
    for key in keys:
        cells += _cells(item["figures"][key], key, control=first)
    seconds = item["seconds_per_step"]
    return [
        *cells,
        f"{item['parameters'] / 1e6:.2f} M",
        f"{item['operations'] / 1e9:.2f} G",
        "-" if seconds is None else f"{seconds:.3g}",
    ]


def _cells(found: Mapping[str, Any], key: str, *, control: bool) -> list[str]:
    digits = 2 if measure(key).is_distance else 3
    if found.get("mean") is None:
        return ["-", "-"]
    spread = "" if found.get("sd") is None else f" ± {found['sd']:.{digits}f}"
    mean = f"{found['mean']:.{digits}f}{spread}"
    if found.get("difference") is None:
        return [mean, "control" if control else "-"]
    interval = "" if found.get("low") is None else f" ({found['low']:+.{digits}f} to {found['high']:+.{digits}f})"
    return [mean, f"{found['difference']:+.{digits}f}{interval}"]


def with_block(text: str, made: str) -> str:
    """Put a table, which begins and ends with its markers, in the place of the one between them.

    Raises
    ------
    DataError
        If the text has no such markers, or in another order.
    """
    begin, finish = made.split("\n", 1)[0], made.rsplit("\n", 1)[-1]
    start, end = text.find(begin), text.find(finish)
    if start < 0 or end < start:
        raise DataError(f"The text has no markers '{begin}' and '{finish}'. Put them where the table shall stand.")
    return text[:start] + made + text[end + len(finish) :]


def write_into(path: Path, after: str) -> bool:
    """Give a file another text; tells whether that changed it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    before = path.read_text(encoding="utf-8")
    if after == before:
        return False
    with replacing(path, path.suffix) as temporary:
        temporary.write_text(after, encoding="utf-8")
    return True
