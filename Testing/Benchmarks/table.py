"""The README's table and FIGURES.md, made from the figures that are kept in Testing/Benchmarks/figures.

    python3 dev.py bench table           # writes both
    python3 dev.py bench table --check   # writes nothing; fails if they are not what it would write
    python3 dev.py bench table --draw    # also draws every plot anew from its figures

Each benchmark keeps its figures there with ``--keep``. What is missing there is left out of the table, in words.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

from _record import FIGURES, ROOT, Entry, machine_sentence, run
from _row import Row
from _rows import ROWS

from mambaseg.errors import InputError, OutputError
from mambaseg.io.files import replacing

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
HEADING, BEFORE = "## How fast", "\n## Limits\n"
_GROUPS = {
    "whole": "A whole CT with trained networks",
    "ct": "The stages of a whole CT",
    "scan": "The scan and the convolution before it, on a CPU",
    "card": "On a graphics card",
    "batch": "Cohorts",
    "start": "Starting",
    "forecast": "The forecast of memory",
}
_RANDOM = "A whole CT with random weights"
_FOLDED = {_RANDOM, _GROUPS["scan"]}
_ABOUT = {
    _GROUPS["whole"]: (
        "The bundled models, and those that `training/make_demo_model.py` makes (`phantom-...`). In brackets: which",
        "part of the voxels differs from its neighbour in the row; there two runs can differ.",
    ),
    _RANDOM: (
        "They make labels like noise, with borders everywhere: there rounding decides voxels, on both sides (in",
        "brackets: which part of nnU-Net's own labels stays when the last bits of its prepared image change).",
    ),
}
_HEAD = "| Ratio | What | Aimed at | Ours | Beside |"


def read(folder: Path) -> dict[str, Entry]:
    """Kept figures by the name of their file, in the table's order."""
    found = {}
    for place in sorted(folder.glob("*.json")):
        try:
            value = json.loads(place.read_text(encoding="utf-8"))
            known = value["benchmark"] in ROWS and value["command"] and value["date"] and value["machine"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"'{place.name}' holds no figures of a benchmark ({error}). Measure them again."
            ) from error
        if not known:
            raise InputError(f"'{place.name}' holds no figures of a benchmark that is known. Remove it.")
        found[place.stem] = value
    order = list(ROWS)
    return dict(
        sorted(found.items(), key=lambda item: (order.index(item[1]["benchmark"]), _untrained(item[1]), item[0]))
    )


def _untrained(value: Entry) -> bool:
    """Whether these are whole runs with random weights: they come after those that users' models are like."""
    return value["benchmark"] == "whole" and any(entry.get("size") for entry in value["figures"])


def _line(row: Row, letter: str = "") -> str:
    sign = f" ({letter})" if letter else ""
    return f"| {row.ratio} | {row.what}{sign} | {row.aim} | {row.ours} | {row.peer} |"


def _table(lines: list[str]) -> list[str]:
    return [_HEAD, "|---|---|---|---|---|", *lines]


def readme_block(kept: dict[str, Entry]) -> str:
    """What stands between the markers: a table for each kind of figures, the long ones folded."""
    runs: dict[str, list[str]] = {}
    for value in kept.values():
        runs.setdefault(f"{machine_sentence(value['machine'])}, on {value['date']}", [])
    letters = dict(zip(runs, "abcdefghijklmnopqrstuvwxyz", strict=False))
    groups: dict[str, list[tuple[Row, str]]] = {}
    for value in kept.values():
        place = f"{machine_sentence(value['machine'])}, on {value['date']}"
        letter = letters[place] if len(runs) > 1 else ""
        group = _RANDOM if _untrained(value) else _GROUPS[value["benchmark"]]
        rows = [(row, letter) for row in ROWS[value["benchmark"]](value["figures"]) if row.main]
        groups.setdefault(group, []).extend(rows)
    where = [f"({letters[place]}) {place}." if len(runs) > 1 else f"Measured on {place}." for place in runs]
    text = [
        "Made by `python3 dev.py bench table` from figures that the benchmarks printed, each beside its peer in the",
        "same run. A whole run's times are all but the network, and the network; its memory is what it takes on top of",
        "what its process held. Commands, all figures and plots are in [FIGURES.md](Testing/Benchmarks/FIGURES.md).",
    ]
    parts = [BEGIN, "", *text, "", "<br>\n".join(where), ""]
    for title, rows in groups.items():
        about = [*_ABOUT[title], ""] if title in _ABOUT else []
        lines = _table([_line(row, letter) for row, letter in rows])
        aims = _aims([row.aim for row, _ in rows])
        if title in _FOLDED:
            parts += ["<details>", f"<summary><b>{title}</b>{aims}</summary>", "", *about, *lines, "", "</details>", ""]
        else:
            parts += [f"**{title}**{aims}", "", *about, *lines, ""]
    return "\n".join([*parts, END])


def _aims(aims: list[str]) -> str:
    """How many were met and missed: a table that is folded must not hide a miss."""
    told = [part for aim in aims if aim for part in aim.split(", ")]
    missed = sum(part.endswith("**missed**") for part in told)
    return f" (aims: {len(told) - missed} met, {missed} missed)" if told else ""


def with_block(readme: str, block: str) -> str:
    """The README with the block in its place; a section is made for it if there is none.

    Raises
    ------
    InputError
        If there is no place for it.
    """
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(readme)) == 1:
        return pattern.sub(lambda _: block, readme)
    if BEGIN in readme or END in readme or BEFORE not in readme:
        raise InputError(
            f"The README has no single place for the table: it wants '{BEGIN}' and '{END}' once, or no markers and a "
            f"heading '{BEFORE.strip()}' before which they can be put."
        )
    return readme.replace(BEFORE, f"\n{HEADING}\n\n{block}\n{BEFORE}", 1)


def figures_page(kept: dict[str, Entry], folder: Path) -> str:
    """All of FIGURES.md."""
    parts = [
        "# What the benchmarks printed",
        "",
        "Made by `python3 dev.py bench table` from `figures/*.json`, not by hand. Ratios above one mean that ours is",
        "faster; memory is ours as a part of the peer's, and every peer was measured in the same run.",
    ]
    for name, value in kept.items():
        parts += ["", f"## {name}", "", f"`{value['command']}`", ""]
        parts += [f"{machine_sentence(value['machine'])}, on {value['date']}.", ""]
        if (folder / f"{name}.png").exists():
            parts += [f"![The figures of {name} as a plot](figures/{name}.png)", ""]
        parts += _table([_line(row) for row in ROWS[value["benchmark"]](value["figures"])])
    return "\n".join(parts) + "\n"


def missing(kept: dict[str, Entry]) -> list[str]:
    """Benchmarks of which nothing is kept."""
    return [name for name in ROWS if name not in {value["benchmark"] for value in kept.values()}]


def main() -> None:
    """Write the table and the page, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    parser.add_argument("--draw", action="store_true", help="draw the plots anew")
    parser.add_argument("--figures", type=Path, default=FIGURES, help=argparse.SUPPRESS)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, default=FIGURES.parent / "FIGURES.md", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    kept = read(chosen.figures)
    for name in missing(kept):
        print(f"No figures of '{name}' are kept, so its rows are left out (python3 dev.py bench {name} --keep).")
    readme = chosen.readme.read_text(encoding="utf-8")
    if not kept:
        if BEGIN in readme:
            raise InputError("The README has a table, but no figures are kept that it could be made from.")
        print("No figures are kept, so there is no table.")
        return
    if chosen.draw and not chosen.check:
        for name, value in kept.items():
            importlib.import_module(value["benchmark"]).draw(value, chosen.figures / f"{name}.png")
    wanted = {
        chosen.readme: with_block(readme, readme_block(kept)),
        chosen.page: figures_page(kept, chosen.figures),
    }
    different = [
        place for place, text in wanted.items() if not place.exists() or place.read_text(encoding="utf-8") != text
    ]
    if chosen.check and different:
        names = " and ".join(place.name for place in different)
        raise OutputError(f"{names} would change. Run `python3 dev.py bench table`.")
    for place in different:
        with replacing(place, ".md") as temporary:
            temporary.write_text(wanted[place], encoding="utf-8")
    print(f"Written: {', '.join(place.name for place in different)}." if different else "Everything is as it would be.")
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
