"""The benchmarks run, write what they say, and the README's table is the one that the kept figures make."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mambaseg.models import bundled_models, load_model

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "Testing" / "Benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))
KEPT = sorted((BENCHMARKS / "figures").glob("*.json"))
MACHINE = {"processor": "A Processor", "cores": 2, "memory_gb": 8, "system": "Linux", "python": "3.11", "torch": "2.0"}
START = [
    {"what": "nnUNetv2_predict --help", "best_s": 4.0, "median_s": 4.5, "repeats": 3, "ratio": 1.0, "torch": None},
    {"what": "mambaseg --help", "best_s": 0.1, "median_s": 0.2, "repeats": 3, "ratio": 40.0, "torch": False},
]
SIDE = {"prepare": 1.0, "network": 8.0, "export": 1.0, "total": 10.0, "peak_bytes": 3e9, "peak_above_bytes": 2e9}
WHOLE = {
    "network": "umamba_bot", "size": "small", "precision": "float32", "classes": 4, "shape": [30, 42, 51], "scale": 0.1,
    "target": 1.5, "ours": {**SIDE, "tiles": 27}, "peer": {**SIDE, "total": 19.0, "peak_above_bytes": 3e9},
    "equal": {"float32": 0.99989999, "as_it_is": 0.99}, "labels": {"classes_found": 4, "border": 0.2},
}  # fmt: skip


def bench(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def kept(folder: Path, name: str, figures: list[dict[str, Any]], stem: str = "", **head: Any) -> None:
    value = {"benchmark": name, "command": f"python3 dev.py bench {name}", "date": "2026-01-02", "machine": MACHINE}
    (folder / f"{stem or name}.json").write_text(json.dumps({**value, **head, "figures": figures}))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    found = {"figures": tmp_path / "figures", "readme": tmp_path / "README.md", "page": tmp_path / "FIGURES.md"}
    found["figures"].mkdir()
    found["readme"].write_text("# Title\n\nText.\n\n## Limits\n\nMany.\n", encoding="utf-8")
    return found


def table(places: dict[str, Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    options = [part for name, place in places.items() for part in (f"--{name}", place)]
    return bench("table", *options, *arguments)


def test_there_is_a_command_for_each_figure():
    assert set(NAMES) == {"batch", "card", "ct", "forecast", "scan", "start", "table", "whole"}


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_is_measured(name: str):
    ran = bench(name, "--help")
    assert ran.returncode == 0, ran.stderr
    assert f"python3 dev.py bench {name}" in ran.stdout


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_modules_stay_small(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def test_the_readme_and_the_page_are_what_the_kept_figures_make():
    ran = bench("table", "--check")
    assert ran.returncode == 0, ran.stderr
    assert ("No figures are kept" in ran.stdout) == (not KEPT)
    for path in KEPT:
        value = json.loads(path.read_text(encoding="utf-8"))
        assert value["command"].startswith(f"python3 dev.py bench {value['benchmark']}"), path.name
        assert "--quick" not in value["command"], path.name
        assert {"processor", "cores", "memory_gb", "system", "python", "torch"} <= value["machine"].keys(), path.name
        assert value["figures"], path.name


def test_a_section_is_made_and_then_kept_up_to_date(places: dict[str, Path]):
    kept(places["figures"], "start", START)
    assert table(places).returncode == 0
    first = places["readme"].read_text(encoding="utf-8")
    assert "| **40.0 x** as fast | `mambaseg --help` |" in first
    assert "A Processor, 2 cores, 8 GB" in first
    assert "2026-01-02" in first
    assert first.index("benchmarks: end") < first.index("## Limits")
    assert table(places, "--check").returncode == 0
    kept(places["figures"], "start", [START[0], {**START[1], "ratio": 20.0}])
    drifted = table(places, "--check")
    assert drifted.returncode != 0
    assert "README.md and FIGURES.md would change" in drifted.stderr
    assert places["readme"].read_text(encoding="utf-8") == first
    assert table(places).returncode == 0
    again = places["readme"].read_text(encoding="utf-8")
    assert "**20.0 x**" in again
    assert "**40.0 x**" not in again
    assert again.count("benchmarks: begin") == 1


def test_what_was_aimed_at_is_said_and_so_is_what_was_missed(places: dict[str, Path]):
    kept(places["figures"], "whole", [WHOLE])
    assert table(places).returncode == 0
    row = next(line for line in places["readme"].read_text(encoding="utf-8").splitlines() if "a whole run" in line)
    assert "all but the network **5.50 x**, the network **1.00 x** as fast, **0.67** of the memory" in row
    # 99.989999 % is not rounded up to what was aimed at
    assert "labels **99.9899 %** equal" in row
    assert "5 x met, 1 x met, 0.5 **missed**, 99.99 % **missed**" in row


def test_figures_of_two_machines_are_told_apart(places: dict[str, Path]):
    kept(places["figures"], "start", START)
    kept(places["figures"], "whole", [WHOLE], "whole-full", machine={**MACHINE, "processor": "Another"})
    ran = table(places)
    assert ran.returncode == 0, ran.stderr
    assert "No figures of 'scan' are kept" in ran.stdout
    readme = places["readme"].read_text(encoding="utf-8")
    assert "(a) Another, 2 cores" in readme
    assert "`mambaseg --help` (b)" in readme
    page = places["page"].read_text(encoding="utf-8")
    assert page.index("## whole-full") < page.index("## start")


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmark": "scan"}', '{"benchmark": "other", "figures": []}'])
def test_a_file_that_holds_no_figures_is_a_sentence(places: dict[str, Path], text: str):
    (places["figures"] / "scan.json").write_text(text)
    ran = table(places)
    assert ran.returncode != 0
    assert "'scan.json' holds no figures" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_trained_networks_come_before_random_weights(places: dict[str, Path]):
    kept(places["figures"], "whole", [WHOLE])
    kept(places["figures"], "whole", [WHOLE | {"network": "demo-phantom", "size": ""}], "whole-trained")
    assert table(places).returncode == 0
    for text in (places["readme"].read_text(encoding="utf-8"), places["page"].read_text(encoding="utf-8")):
        assert 0 < text.index("`demo-phantom`") < text.index("`umamba_bot`")


def test_what_is_folded_says_how_many_aims_it_misses(places: dict[str, Path]):
    kept(places["figures"], "whole", [WHOLE])
    kept(places["figures"], "whole", [WHOLE | {"network": "demo-phantom", "size": ""}], "whole-trained")
    kept(places["figures"], "start", START)
    assert table(places).returncode == 0
    readme = places["readme"].read_text(encoding="utf-8")
    before, folded = readme.split("<details>")
    folded, after = folded.split("</details>")
    # two of the four are missed: the memory, and the labels
    assert "<summary><b>A whole CT with random weights</b> (aims: 2 met, 2 missed)</summary>\n\n" in folded
    assert "`umamba_bot` small" in folded
    assert "**A whole CT with trained networks** (aims: 2 met, 2 missed)" in before
    assert "`demo-phantom` float32" in before
    assert "**Starting** (aims: 1 met, 0 missed)" in after


def test_a_readme_without_a_place_is_a_sentence(places: dict[str, Path]):
    kept(places["figures"], "start", START)
    places["readme"].write_text("# Title\n<!-- benchmarks: begin -->\n", encoding="utf-8")
    ran = table(places)
    assert ran.returncode != 0
    assert "no single place for the table" in ran.stderr
    assert not places["page"].exists()


def written(tmp_path: Path, name: str, *arguments: str) -> dict[str, Any]:
    """Run the quick form and give its JSON, which a table can be made of."""
    tracked = {path: path.stat().st_mtime_ns for path in BENCHMARKS.rglob("*.*") if "__pycache__" not in path.parts}
    figures = tmp_path / "figures"
    figures.mkdir()
    place, plot = figures / f"{name}.json", figures / f"{name}.png"
    ran = bench(name, "--quick", *arguments, "--json", place, "--plot", plot)
    assert ran.returncode == 0, ran.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")
    value: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    told = arguments[: arguments.index("--profile")] if "--profile" in arguments else arguments
    assert value["command"] == " ".join(["python3 dev.py bench", name, "--quick", *told])
    assert str(tmp_path) not in place.read_text(encoding="utf-8")
    assert value["figures"], ran.stdout
    readme = shutil.copy(ROOT / "README.md", tmp_path)
    made = table({"figures": figures, "readme": Path(readme), "page": tmp_path / "FIGURES.md"})
    assert made.returncode == 0, made.stderr
    assert f"![The figures of {name}" in (tmp_path / "FIGURES.md").read_text(encoding="utf-8")
    now = {path: path.stat().st_mtime_ns for path in BENCHMARKS.rglob("*.*") if "__pycache__" not in path.parts}
    assert now == tracked
    return value


def test_scan_runs(tmp_path: Path):
    figures = written(tmp_path, "scan", "--backward")["figures"]
    alone = {"exp", "own_exp", "profile"}
    assert {entry["curve"] for entry in figures} == {*alone, "length", "channels", "picture", "causal"}
    assert {entry.get("backward") for entry in figures} == {None, False, True}
    apart = [entry["apart"] for entry in figures if entry["curve"] in ("picture", "causal")]
    assert len(apart) == 4
    assert max(apart) < 1e-5
    assert all(entry["ns"] > 0 for entry in figures)


def test_the_table_takes_every_kind_of_the_cards_figures(places: dict[str, Path]):
    lies = {"layout": "channels side by side", "used": True}
    scan = {"length": 1 << 20, "channels": 64, "way": "forward", "ns": 0.1, "peer_ns": 0.7, "ratio": 7.0, **lies}
    short = {**scan, "length": 4096, "curve": "length", "peer": "mamba_ssm"}
    patch = {"seconds": 0.01, "peer_seconds": 0.02, "ratio": 2.0}
    whole = "a patch of `umamba_enc` full on the card"
    figures = [
        {"curve": "able", "bytes_a_second": 1e12, "exponentials_a_second": 1e12},
        *({"curve": curve, "peer": peer, **scan} for curve in ("length", "channels") for peer in ("mamba_ssm", "card")),
        {"curve": "length", "peer": "mamba_ssm", **scan, "way": "backward", "ratio": 1.9},
        {"curve": "length", "peer": "mamba_ssm", **scan, "layout": "tokens side by side", "used": False, "ratio": 3.0},
        {**short, "ratio": 0.9},
        {**short, "length": 1024, "ratio": 0.7},
        {**short, "way": "both", "ratio": 0.1},
        {"curve": "patch", "network": "umamba_enc", "size": "full", "peer": "published", **patch},
        {"curve": "patch", "network": "umamba_enc", "size": "full", "peer": "mamba_ssm", **patch, "ratio": 1.0},
        {"curve": "replayed", "what": whole, "apart": 0.0, **patch},
        {"curve": "compiled", "what": whole, "apart": 1e-3, **patch},
    ]
    kept(places["figures"], "card", figures, card="A Card")
    ran = table(places)
    assert ran.returncode == 0, ran.stderr
    made, page = (places[name].read_text(encoding="utf-8") for name in ("readme", "page"))
    assert f"{whole}, replayed as a CUDA graph" in made
    assert f"{whole}, compiled by torch.compile" in made
    assert made.count("5 x met") == 1
    assert "64 channels, channels side by side as in our layers, `triton`" in made
    assert "64 channels, backward alone, channels side by side" in made
    assert "2 x **missed**" in made
    # a layout that no layer has is held against no aim; what is elsewhere is told by its worst
    assert "5 x **missed**" not in page
    assert "2 shorter or wider ones: at worst (1,024 tokens x 64 channels)" in made
    assert made.count("0.8 x **missed**") == 1
    assert page.count("0.8 x met") == 1
    assert [line for line in made.splitlines() if "2 x met" in line and "the published layer and kernel" in line]
    assert [line for line in made.splitlines() if "our layers around the published kernel" in line]


@pytest.mark.slow
def test_the_cards_benchmark_runs_in_the_interpreter(tmp_path: Path):
    pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux)")
    figures = written(tmp_path, "card", "--device", "cpu", "--profile", str(tmp_path / "profile"))["figures"]
    assert {entry["curve"] for entry in figures} == {"able", "length", "channels"}
    assert {entry.get("peer") for entry in figures} == {None, "torch", "card"}
    assert {entry.get("way") for entry in figures} == {None, "forward", "backward", "both"}
    assert {entry.get("layout") for entry in figures} == {None, "channels side by side", "tokens side by side"}
    # where the kernels run, in their interpreter too, what is inferred has channels side by side
    forward = {entry["layout"] for entry in figures if entry.get("way") == "forward" and entry["used"]}
    assert forward == {"channels side by side"}
    profiles = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["profiles"]
    names = ["scan, 20 tokens x 4 channels", "scan, 20 tokens x 4 channels, backward alone"]
    assert [piece["what"] for piece in profiles] == [*names, "a patch of umamba_enc tiny"]
    assert "aten::" in (tmp_path / "profile.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card, so it would be measured")
def test_without_a_card_that_is_a_sentence(tmp_path: Path):
    ran = bench("card", "--upstream", tmp_path)
    assert ran.returncode != 0
    assert "There is no CUDA card here" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_ct_runs(tmp_path: Path):
    figures = written(tmp_path, "ct")["figures"]
    assert {entry["stage"] for entry in figures} == {"prepare", "network", "export", "whole"}
    assert all(entry["peer"]["peak_bytes"] > 0 for entry in figures if entry["stage"] != "whole")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["umamba_bot", "umamba_enc", "lightm_unet", "residual_unet", "demo-phantom"])
def test_a_whole_run_gives_the_peers_labels(tmp_path: Path, network: str):
    figures = written(tmp_path, "whole", "--networks", network, "--last-bits")["figures"]
    # random weights may turn the last bits of an image into other labels, in the plain network too
    unsteady = 1 - figures[0]["labels"].get("steady", 1)
    assert 1 - figures[0]["equal"]["float32"] <= max(1e-4, 3 * unsteady)
    assert figures[0]["labels"]["classes_found"] >= 3
    assert figures[0]["labels"]["border"] > 0
    assert unsteady < 0.01
    assert 0.99 < figures[0]["labels"]["peer_last_bits"] <= 1
    assert figures[0]["peer"]["total"] > figures[0]["peer"]["network"] > 0


@pytest.mark.slow
def test_a_package_is_measured_and_its_place_is_not_told(tmp_path: Path):
    place = tmp_path / "a person's" / "model"
    shutil.copytree(ROOT / "UMambaSegment" / "mambaseg" / "models" / "bundled" / "demo-phantom", place)
    out = tmp_path / "whole.json"
    ran = bench("whole", "--quick", "--networks", place, "--json", out)
    assert ran.returncode == 0, ran.stderr
    value = json.loads(out.read_text(encoding="utf-8"))
    assert value["command"] == "python3 dev.py bench whole --quick --networks model"
    assert (value["figures"][0]["network"], value["figures"][0]["size"]) == ("demo-phantom", "")
    assert value["figures"][0]["target"] == [4.5, 4.5, 4.5]
    assert value["figures"][0]["equal"]["float32"] >= 0.9999


def test_a_model_that_takes_no_volume_is_refused_before_anything_is_measured():
    place = ROOT / "UMambaSegment" / "mambaseg" / "models" / "bundled" / "cells-nuclei"
    ran = bench("whole", "--quick", "--networks", "demo-phantom", place)
    assert ran.returncode != 0
    assert "does not take one volume" in ran.stderr
    assert "whole" not in ran.stdout


def test_trained_models_are_told_with_the_spacing_they_work_at():
    runs = [path for path in KEPT if path.stem.startswith("whole")]
    for entry in (one for path in runs for one in json.loads(path.read_text(encoding="utf-8"))["figures"]):
        if not entry["size"] and entry["network"] in bundled_models():
            spec = load_model(bundled_models()[entry["network"]]).spec
            assert entry["target"] == [spec.spacing[spec.axes.index(axis)] for axis in range(3)]


def test_last_bits_want_the_labels_that_they_are_held_against():
    ran = bench("whole", "--quick", "--last-bits", "--skip-exact")
    assert ran.returncode != 0
    assert "Leave out --skip-peer and --skip-exact" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_network_that_is_none_is_a_sentence():
    ran = bench("whole", "--networks", "umamba")
    assert ran.returncode != 0
    assert "'umamba' is neither a network" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", ["umamba_bot", "umamba_enc", "lightm_unet", "residual_unet", "vm_unet", "mamba_unet"]
)
def test_forecast_and_run_are_set_side_by_side(tmp_path: Path, network: str):
    figures = written(tmp_path, "forecast", "--networks", network)["figures"]
    assert figures[0]["said"]["bytes"] > 0
    assert figures[0]["found"]["peak_above_bytes"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size", "scale"), [("umamba_enc", "full", 0.4), ("lightm_unet", "full", 0.4), ("vm_unet", "full", 0.5)]
)
def test_the_forecast_of_memory_is_within_a_fifth(tmp_path: Path, network: str, size: str, scale: float):
    place = tmp_path / "forecast.json"
    ways = ("plain", "probabilities", "bfloat16", "folds", "warm")
    ran = bench("forecast", "--networks", network, "--size", size, "--sizes", scale, "--ways", *ways, "--json", place)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(place.read_text(encoding="utf-8"))["figures"]
    assert [entry["way"] for entry in figures] == list(ways)
    assert {entry["way"]: entry["memory_verdict"] for entry in figures} == dict.fromkeys(ways, "within 20 %")


@pytest.mark.slow
def test_start_runs_and_loads_no_torch(tmp_path: Path):
    figures = {entry["what"]: entry for entry in written(tmp_path, "start")["figures"]}
    assert figures["mambaseg --help"]["torch"] is False
    assert figures["import mambaseg"]["torch"] is False
    assert figures["worker"]["first_s"] > 0


@pytest.mark.slow
def test_a_batch_gives_the_loops_labels(tmp_path: Path):
    assert written(tmp_path, "batch")["figures"][0]["same_labels"] is True


def test_figures_of_a_quick_run_are_never_kept():
    ran = bench("scan", "--quick", "--keep")
    assert ran.returncode != 0
    assert "Figures of a quick run mean nothing" in ran.stderr
    assert sorted((BENCHMARKS / "figures").glob("*.json")) == KEPT


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path):
    ran = bench("scan", "--quick", "--json", tmp_path / "nowhere" / "scan.json")
    assert ran.returncode != 0
    assert "There is no folder" in ran.stderr
    assert not ran.stdout
