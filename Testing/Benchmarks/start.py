"""How long it takes until something happens: help, imports, and a worker's first and second answer.

    python3 dev.py bench start [--repeats 10]

`mambaseg --help` and `import mambaseg` in new processes, beside `python -c pass` and `nnUNetv2_predict --help` in the
same run, in turns. The worker is the process that Slicer talks to: from its start until it says that it is ready, then
the same request twice (a phantom of 64x53x55 voxels and the bundled model): the first loads libraries and model, the
second finds them warm.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import ROOT, Entry, Record, parser_of, ratio, run

from mambaseg.errors import ResourceError

_PASS, _HELP, _IMPORT, _PEER = "python -c pass", "mambaseg --help", "import mambaseg", "nnUNetv2_predict --help"
_NNUNET = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as main; main()"
COMMANDS = {
    _PASS: ["-c", "pass"],
    _HELP: ["-m", "mambaseg", "--help"],
    _IMPORT: ["-c", "import mambaseg"],
    _PEER: ["-c", _NNUNET, "--help"],
}
WORKERS = 3
_HEAVY = "import sys; print('torch' in sys.modules)"
_LOADED = {
    _HELP: "import sys\nfrom mambaseg.cli import main\nsys.argv = ['mambaseg', '--help']\n"
    f"try:\n    main()\nexcept SystemExit:\n    pass\n{_HEAVY}",
    _IMPORT: f"import mambaseg; {_HEAVY}",
}


def _environment() -> dict[str, str]:
    return {**os.environ, "nnUNet_raw": ".", "nnUNet_preprocessed": ".", "nnUNet_results": "."}


def _run(arguments: list[str]) -> tuple[float, str]:
    """Seconds of a process, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=_environment())
    taken = time.perf_counter() - began
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ResourceError(f"A process that was to be timed ended with code {done.returncode}: {last}")
    return taken, done.stdout


def _commands(record: Record, repeats: int, *, peer: bool) -> None:
    """Time the commands in turns, so that all meet the same machine."""
    names = [name for name in COMMANDS if peer or name != _PEER]
    for name in names:  # once for the files that the system keeps in memory from then on
        _run(COMMANDS[name])
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            taken[name].append(_run(COMMANDS[name])[0])
    best = {name: min(values) for name, values in taken.items()}
    for name in names:
        torch = _run(["-c", _LOADED[name]])[1].splitlines()[-1] == "True" if name in _LOADED else None
        said = "" if torch is None else f", torch {'WAS' if torch else 'was not'} imported"
        against = f"{ratio(best[_PEER] / best[name])} x as fast as {_PEER}, " if peer else ""
        record.add(
            f"{against}{ratio(best[name] / best[_PASS]).strip()} x {_PASS} | {name}: "
            f"best {best[name] * 1e3:.0f} ms, median {statistics.median(taken[name]) * 1e3:.0f} ms of {repeats}{said}",
            {"what": name, "best_s": best[name], "median_s": statistics.median(taken[name]), "repeats": repeats,
             "ratio": best[_PEER] / best[name] if peer else None, "torch": torch},
        )  # fmt: skip


def _one_worker() -> tuple[float, float, float]:
    """Start a worker and ask it the same twice: seconds until it is ready, and of both requests."""
    sys.path.append(str(ROOT / "Testing" / "engine"))
    import worker_helpers

    from mambaseg.phantom import make_phantom
    from mambaseg.worker.protocol import QuitRequest, Ready, SegmentRequest, decode_event, encode, save_volume

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = make_phantom(shape=(55, 53, 64), spacing=(5.6, 5.6, 6.0)).volume
        ref = save_volume(scan, folder, "input")
        began = time.perf_counter()
        process = subprocess.Popen(
            worker_helpers.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**_environment(), "MAMBASEG_HOME": str(folder)},
        )  # fmt: skip
        try:

            def until(kinds: tuple[type, ...], number: int | None = None) -> Any:
                for line in process.stdout or ():
                    event = decode_event(line)
                    if isinstance(event, kinds) and number in (None, getattr(event, "id", None)):
                        return event
                raise ResourceError("The worker ended before it answered.")

            def say(request: Any) -> None:
                assert process.stdin is not None
                process.stdin.write(encode(request))
                process.stdin.flush()

            until((Ready,))
            times = [time.perf_counter() - began]
            for number in (1, 2):
                began = time.perf_counter()
                say(SegmentRequest(number, (ref,), "demo-phantom", str(folder), {"device": "cpu"}))
                event = until(worker_helpers.FINAL, number)
                if event.name != "result":
                    raise ResourceError(f"The worker could not segment: {getattr(event, 'message', event.name)}")
                times.append(time.perf_counter() - began)
            say(QuitRequest())
            process.wait(30)
        finally:
            process.kill()
            process.communicate()
    return times[0], times[1], times[2]


def _worker(record: Record, repeats: int) -> None:
    """Ask some workers, one after the other; the best of each time counts."""
    ready, first, second = map(min, zip(*(_one_worker() for _ in range(repeats)), strict=True))
    record.add(
        f"{ratio(first / second)} x as fast the second time | a worker: ready after {ready * 1e3:.0f} ms, "
        f"first request {first:.2f} s, second {second:.2f} s, best of {repeats}",
        {"what": "worker", "ready_s": ready, "first_s": first, "second_s": second, "ratio": first / second,
         "workers": repeats},
    )  # fmt: skip


def main() -> None:
    """Print one line a command, and one for the worker."""
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--skip-peer", action="store_true")
    chosen = parser.parse_args()
    record = Record("start", chosen)
    _commands(record, 1 if chosen.quick else max(1, chosen.repeats), peer=not (chosen.skip_peer or chosen.quick))
    _worker(record, 1 if chosen.quick else WORKERS)
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """One bar a command, and the worker's three."""
    import _plots

    rows = []
    for entry in value["figures"]:
        if entry["what"] == "worker":
            parts = (
                ("worker, ready", "ready_s"),
                ("worker, 1st request", "first_s"),
                ("worker, 2nd request", "second_s"),
            )
            rows += [(name, [(entry[key], _plots.BLUE, _text(entry[key]))]) for name, key in parts]
        else:
            ours = "mambaseg" in entry["what"]
            colour = _plots.BLUE if ours else _plots.VERMILION if entry["what"] == _PEER else _plots.GREY
            rows.append((entry["what"], [(entry["best_s"], colour, _text(entry["best_s"]))]))
    height = 1.0 + 0.33 * len(rows)
    figure, panels = _plots.new(
        height, 1, 1, "Until something happens",
        f"Best of {max(entry.get('repeats', 1) for entry in value['figures'])} processes, and of 3 workers; on "
        f"{value['machine']['processor']} ({value['machine']['cores']} cores); logarithmic scale",
    )  # fmt: skip
    _plots.bars(panels[0][0], "", rows)
    _plots.save(figure, place)


def _text(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2g} s"


if __name__ == "__main__":
    run(main)
