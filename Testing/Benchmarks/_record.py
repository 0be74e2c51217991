"""What every benchmark shares: its options, what it says of the machine, and the JSON and the plot it writes.

A plain run writes nothing. ``--json FILE`` and ``--plot FILE.png`` write to a place of your own, ``--keep`` to
``Testing/Benchmarks/figures``, from which ``table`` makes the README's table; ``--keep full`` keeps a second run of the
same benchmark beside the first. The JSON is written anew with every figure, so that a run that is stopped keeps them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mambaseg.errors import MambasegError, OptionError, ResourceError
from mambaseg.io.files import check_place, replacing
from mambaseg.memory import host_total

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "Testing" / "Benchmarks" / "figures"
PACKAGES = ("torch", "numba", "nnunetv2")
Entry = dict[str, Any]
_OUTPUTS = ("--json", "--plot", "--keep", "--profile")


@functools.cache
def processor() -> str:
    """The processor's model as the system names it, without the marks of its trade."""
    name = ""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1] for line in lines if line.startswith("model name")), "")
    name = name or platform.processor() or platform.machine()
    return " ".join(name.replace("(R)", "").replace("(TM)", "").split())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Entry:
    """What figures depend on; never a host's name."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)}
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_gb": round(host_total() / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def machine_sentence(found: Entry) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {found[name]}" for name in PACKAGES if name in found)
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_gb']} GB, {found['system']}, "
        f"Python {found['python']}, {versions}"
    )


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, in seconds: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures")
    parser.add_argument(
        "--keep", nargs="?", const="", metavar="TAG", help="write both to Testing/Benchmarks/figures, as NAME[-TAG]"
    )
    return parser


def _command(name: str, arguments: Sequence[str]) -> str:
    """The command as a person would repeat it, less where its output went."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        skip = skip and not argument.startswith("-")
        if not skip and argument.partition("=")[0] not in _OUTPUTS:
            kept.append(_of_this_project(argument))
        skip = argument in _OUTPUTS
    return shlex.join(["python3", "dev.py", "bench", name, *kept])


def _of_this_project(argument: str) -> str:
    """A path as anybody may read it: below this project, or its name alone."""
    place = Path(argument)
    if not place.is_absolute():
        return argument
    return str(place.relative_to(ROOT)) if place.is_relative_to(ROOT) else place.name


class Record:
    """The figures of one run, printed as they come and written at its end.

    Parameters
    ----------
    name
        Of the benchmark.
    chosen
        What the parser of `parser_of` gave.
    """

    def __init__(self, name: str, chosen: argparse.Namespace) -> None:
        self.name = name
        self.figures: list[Entry] = []
        self._places: dict[str, Path] = {}
        if chosen.keep is not None:
            if chosen.quick:
                raise OptionError("Figures of a quick run mean nothing, so they are not kept. Leave out --quick.")
            if not chosen.keep.replace("_", "").isalnum() and chosen.keep:
                raise OptionError(f"'{chosen.keep}' is no tag for a file's name. Use letters and digits.")
            FIGURES.mkdir(exist_ok=True)
            stem = f"{name}-{chosen.keep}" if chosen.keep else name
            self._places = {kind: FIGURES / f"{stem}.{kind}" for kind in ("json", "png")}
        if chosen.json:
            self._places["json"] = chosen.json
        if chosen.plot:
            self._places["png"] = chosen.plot
        for place in self._places.values():
            check_place(place)
        self.head: Entry = {
            "benchmark": name,
            "command": _command(name, sys.argv[1:]),
            "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
            "machine": machine(),
        }
        print(f"{machine_sentence(self.head['machine'])}; {self.head['date']}", flush=True)

    def add(self, line: str, entry: Entry) -> None:
        """Print a line, keep its figures, and write the JSON where it was asked for."""
        print(line, flush=True)
        self.figures.append(entry)
        if "json" in self._places:
            text = json.dumps(self.value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            with replacing(self._places["json"], ".json") as temporary:
                temporary.write_text(text, encoding="utf-8")

    @property
    def value(self) -> Entry:
        """Everything that is written."""
        return {**self.head, "figures": self.figures}

    def finish(self, draw: Callable[[Entry, Path], None]) -> None:
        """Draw the plot where it was asked for.

        Raises
        ------
        ResourceError
            If there is no figure.
        """
        if not self.figures:
            raise ResourceError("Nothing could be measured, so nothing is written; why stands above.")
        if "png" in self._places:
            draw(self.value, self._places["png"])


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's ``main``; what a person did wrong ends it in a sentence."""
    try:
        main()
    except MambasegError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: stopped; the figures so far are kept where a file was named.")


def ratio(value: float) -> str:
    """A ratio in three figures, as wide as others."""
    if value >= 100:
        return f"{value:6.0f}"
    return f"{value:6.1f}" if value >= 10 else f"{value:6.2f}"
