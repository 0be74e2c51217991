#!/usr/bin/env python3
"""Set up and run this project with nothing but Python: `python3 dev.py demo`, `python3 dev.py test`.

Needs only the standard library. It makes a virtual environment in `.venv`, installs the pinned versions of
`requirements/` and runs the command there; later runs find all that done and start at once, without the network.
Settings that pip reads (PIP_* variables, pip.conf, a proxy in the environment) are honoured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"
OLDEST, NEWEST = (3, 10), (3, 13)
LEVELS = ("run", "test")
MOST_PROCESSES = 4  # of the tests: each may take some GB of memory
# What a CUDA build of torch brings along, several GB of it.
CUDA_PACKAGE = re.compile(r"(nvidia-|cuda-|triton$)")


class DevError(Exception):
    """Something could not be done; the message is a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="dev.py", description="Set up and run this project.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", help="segment the embedded example end to end; results go to out/demo")
    test = commands.add_parser("test", help="lint, types and tests; given pytest arguments, only those tests")
    test.add_argument("--all", action="store_true", help="slow tests too")
    commands.add_parser("lint", help="ruff and mypy alone")
    commands.add_parser("bench", help="run a benchmark of Testing/Benchmarks by name; without a name, list them")
    setup = commands.add_parser("setup", help="make the environment and stop")
    setup.add_argument("level", nargs="?", choices=LEVELS, default="run", help="'test' adds what the tests need")
    commands.add_parser("lock", help="resolve the newest versions and write requirements/constraints.txt")
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.command not in ("demo", "test", "bench"):
        parser.error(f"'{chosen.command}' takes no further arguments, but was given: {' '.join(rest)}")
    handlers: dict[str, Callable[[], int]] = {
        "demo": lambda: _demo(rest),
        "test": lambda: _test(rest, everything=chosen.all),
        "lint": _lint,
        "bench": lambda: _bench(rest),
        "setup": lambda: _setup(chosen.level),
        "lock": _lock,
    }
    try:
        return handlers[chosen.command]()
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev.py: stopped.", file=sys.stderr)
        return 130


def _demo(rest: Sequence[str]) -> int:
    python = _environment("run")
    own_place = any(value in ("-o", "--output") or value.startswith("--output=") for value in rest)
    place = [] if own_place else ["--output", str(ROOT / "out" / "demo")]
    return _call([python, "-m", "mambaseg.demo", *place, *rest])


def _test(rest: Sequence[str], *, everything: bool) -> int:
    python = _environment("test")
    steps: dict[str, int] = {}
    if rest:
        _say("pytest arguments were given: only those tests run, without lint and types.")
    else:
        steps.update(_lint_steps(python))
    which = [] if everything else ["-m", "not slow"]
    if not everything:
        _say("slow tests are left out (`python3 dev.py test --all` runs them).")
    side_by_side = [] if rest else _side_by_side()
    steps["tests"] = _call([python, "-m", "pytest", *which, *side_by_side, *rest])
    return _verdict(steps)


def _side_by_side() -> list[str]:
    """Share the tests among a few processes, unless there is a card, on which they would stand in each other's way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, MOST_PROCESSES)
    if processes < 2 or _has_nvidia():
        return []
    return ["-n", str(processes), "--dist", "loadfile"]


def _lint() -> int:
    return _verdict(_lint_steps(_environment("test")))


def _lint_steps(python: str) -> dict[str, int]:
    return {
        "ruff check": _call([python, "-m", "ruff", "check", "."]),
        "ruff format": _call([python, "-m", "ruff", "format", "--check", "."]),
        "mypy": _call([python, "-m", "mypy"]),
    }


def _verdict(steps: dict[str, int]) -> int:
    failed = [name for name, code in steps.items() if code]
    if failed:
        _say(f"FAILED: {', '.join(failed)}.")
        return 1
    _say(f"passed: {', '.join(steps)}.")
    return 0


def _bench(rest: Sequence[str]) -> int:
    folder = ROOT / "Testing" / "Benchmarks"
    known = {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    if not rest or rest[0] not in known:
        listed = ", ".join(known) or "none yet"
        raise DevError(f"Name one of the benchmarks: {listed}.")
    return _call([_environment("test"), str(known[rest[0]]), *rest[1:]])


def _setup(level: str) -> int:
    _environment(level)
    _say(f"the environment for '{level}' is ready in {VENV.name}.")
    return 0


def _environment(level: str) -> str:
    """Path of the environment's Python, with everything for ``level`` installed."""
    if sys.version_info < OLDEST:
        raise DevError(
            f"This is Python {sys.version.split()[0]}, but the project needs {OLDEST[0]}.{OLDEST[1]} or newer. "
            "Install a newer Python and run this script with it."
        )
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = {name: _stamp(name) for name in LEVELS}
    if python.exists() and any(_read_stamp(name) == wanted[name] for name in LEVELS[LEVELS.index(level) :]):
        return str(python)
    if sys.version_info[:2] > NEWEST:
        _say(f"Python {sys.version.split()[0]} is newer than this project was tested with; trying all the same.")
    started = time.monotonic()
    # An environment made for other pins keeps its downloads' worth: pip changes only what differs.
    if not python.exists() or not any(_read_stamp(name, whole=False) == _python_stamp() for name in LEVELS):
        _make_venv()
    for name in LEVELS:
        _stamp_file(name).unlink(missing_ok=True)
    pip = [str(python), "-m", "pip"]
    pinned = ["-c", str(CONSTRAINTS)]
    _must([*pip, "install", "--quiet", "--upgrade", *pinned, "pip"], "pip itself could not be brought up to date")
    _install_torch(pip, level)
    files = [REQUIREMENTS / f"{name}.txt" for name in LEVELS[: LEVELS.index(level) + 1]]
    asked = [part for file in files for part in ("-r", str(file))]
    _say(f"installing the pinned packages for '{level}' ...")
    _must([*pip, "install", "--quiet", *pinned, *asked], "the pinned packages could not be installed")
    here = [*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    # setuptools warns about every editable installation; here it is meant.
    quiet = {"PYTHONWARNINGS": "ignore"}
    _must(here, "the project itself could not be installed into the environment", quiet)
    _stamp_file(level).write_text(wanted[level], encoding="utf-8")
    _say(f"environment ready after {time.monotonic() - started:.0f} s.")
    return str(python)


def _make_venv() -> None:
    if VENV.exists():
        if not (VENV / "pyvenv.cfg").exists():
            raise DevError(f"{VENV} exists but is no virtual environment. Move it away and run this again.")
        shutil.rmtree(VENV)
    _say(f"making a virtual environment in {VENV.name} ...")
    try:
        venv.create(VENV, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DevError(
            f"The virtual environment could not be made ({error}). On Debian and Ubuntu install python3-venv; "
            "else see that this folder can be written to."
        ) from error


def _install_torch(pip: Sequence[str], level: str) -> None:
    """Install torch first and alone, and where there is no NVIDIA card without CUDA if that can be had."""
    lines = (REQUIREMENTS / "torch.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    pins = pins if level == "test" else pins[:1]
    if _installed(pip, pins):
        return
    ordinary = [*pip, "install", "--quiet", "-c", str(CONSTRAINTS), *pins]
    if sys.platform == "linux" and not _has_nvidia() and _would_bring_cuda(pip, pins):
        _say(f"no NVIDIA card here: looking for the CPU build of {' and '.join(pins)} (with uv) ...")
        uv = [pip[0], "-m", "uv", "pip", "install", "--quiet", "--python", pip[0]]
        tries = (
            [*pip, "install", "--quiet", "-c", str(CONSTRAINTS), "uv"],
            [*uv, "--torch-backend=cpu", "-c", str(CONSTRAINTS), *pins],
        )
        if all(_call(step) == 0 for step in tries):
            return
        _say("the CPU build could not be had; installing the build that pip chooses, with several GB of CUDA.")
    _say(f"installing {' and '.join(pins)} ...")
    _must(ordinary, f"{' and '.join(pins)} could not be installed")


def _installed(pip: Sequence[str], pins: Sequence[str]) -> bool:
    """Whether exactly these versions are there (a local part such as +cpu aside)."""
    names = [pin.split("==")[0] for pin in pins]
    code = (
        "import sys, importlib.metadata as m\n"
        "have = {d.metadata['Name'].lower(): d.version.split('+')[0] for d in m.distributions()}\n"
        "print('\\n'.join(n + '==' + have.get(n, '') for n in sys.argv[1:]))"
    )
    found = subprocess.run([pip[0], "-c", code, *names], capture_output=True, text=True, check=False)
    return found.returncode == 0 and found.stdout.split() == list(pins)


def _has_nvidia() -> bool:
    if Path("/proc/driver/nvidia/version").exists():
        return True
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def _would_bring_cuda(pip: Sequence[str], pins: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        step = [*pip, "install", "--quiet", "--dry-run", "--report", str(report), "-c", str(CONSTRAINTS), *pins]
        if _call(step) != 0 or not report.exists():
            # The real installation will fail the same way and say why.
            return False
        planned = json.loads(report.read_text(encoding="utf-8"))["install"]
    return any(CUDA_PACKAGE.match(entry["metadata"]["name"].lower()) for entry in planned)


def _lock() -> int:
    """Write the constraints anew from what is newest now."""
    python = _environment("run")
    pip = [python, "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), "uv"]
    _must(pip, "uv, which resolves the versions, could not be installed")
    sources = [str(REQUIREMENTS / f"{name}.txt") for name in ("torch", *LEVELS)]
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "lock.txt"
        quiet = ["--quiet", "--no-header", "--no-annotate"]
        range_of_pythons = ["--universal", "--python-version", ".".join(map(str, OLDEST))]
        step = [python, "-m", "uv", "pip", "compile", *quiet, *range_of_pythons, "-o", str(raw), *sources]
        _must(step, "the versions could not be resolved")
        lines = raw.read_text(encoding="utf-8").splitlines()
    old = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    head = [line for line in old if line.startswith("#")]
    # Nothing depends on these two; their pins are moved by hand.
    tools = [line for line in old if line.startswith(("pip==", "uv=="))]
    kept = [line for line in lines if line and not CUDA_PACKAGE.match(re.split("[=; ]", line)[0])]
    written = CONSTRAINTS.with_suffix(".part")
    written.write_text("\n".join([*head, *sorted([*kept, *tools])]) + "\n", encoding="utf-8")
    written.replace(CONSTRAINTS)
    _say(f"{len(kept)} versions written to {CONSTRAINTS.relative_to(ROOT)}.")
    return 0


def _stamp_file(level: str) -> Path:
    return VENV / f"mambaseg-{level}.stamp"


def _python_stamp() -> str:
    return f"{sys.version.split()[0]} {sys.platform} {VENV}"


def _stamp(level: str) -> str:
    """Sum up what the environment is made from: this Python, this place, every file that sets versions."""
    digest = hashlib.sha256()
    names = ("torch.txt", "constraints.txt", *(f"{name}.txt" for name in LEVELS[: LEVELS.index(level) + 1]))
    for path in (*(REQUIREMENTS / name for name in names), ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return f"{_python_stamp()}\n{digest.hexdigest()}"


def _read_stamp(level: str, *, whole: bool = True) -> str:
    path = _stamp_file(level)
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8")
    return text if whole else text.splitlines()[0]


def _call(command: Sequence[str], variables: Mapping[str, str] | None = None) -> int:
    """Run a command in the project's folder, with more variables in its environment, and return its exit code."""
    sys.stdout.flush()
    try:
        code = subprocess.run(list(command), cwd=ROOT, env={**os.environ, **(variables or {})}, check=False).returncode
    except OSError as error:
        raise DevError(
            f"{command[0]} could not be started ({error}). Delete {VENV.name} and run this again."
        ) from error
    return code if code >= 0 else 128 - code


def _must(command: Sequence[str], failure: str, variables: Mapping[str, str] | None = None) -> None:
    code = _call(command, variables)
    if code:
        shown = " ".join(str(Path(part).name if part.startswith(str(ROOT)) else part) for part in command)
        raise DevError(
            f"{failure[0].upper()}{failure[1:]} (exit code {code} of: {shown}). "
            "What went wrong stands above; check the network or proxy and run this again."
        )


def _say(sentence: str) -> None:
    print(f"dev.py: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
