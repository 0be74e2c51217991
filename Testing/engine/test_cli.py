"""The command line in this process: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
import SimpleITK
from cli_helpers import make_image, make_package, run

from mambaseg import load_model, read_volume, segment
from mambaseg.cli.root import root
from mambaseg.models import Store


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package") / "tiny.mambaseg")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image") / "ct.nii.gz")


def test_segment_writes_what_the_python_call_gives(capsys, tmp_path: Path, package: Path, image: Path):
    output, report = tmp_path / "out.seg.nrrd", tmp_path / "report.json"
    ended = run(capsys, "segment", image, "-o", output, "-m", package, "--json", report, "--forecast")
    assert ended.code == 0
    wanted = segment(read_volume(image), load_model(package))
    written = SimpleITK.ReadImage(str(output))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(written), wanted.labels)
    assert written.GetSpacing() == pytest.approx((2.0, 2.0, 2.5))
    rows = [line.split() for line in ended.out.strip().splitlines()]
    assert rows[0] == ["structure", "ml"]
    assert {name: float(ml) for name, ml in rows[1:]} == pytest.approx(wanted.volumes_ml(), abs=0.006)
    said = json.loads(report.read_text(encoding="utf-8"))
    assert said["volumes_ml"] == pytest.approx(wanted.volumes_ml())
    assert said["model"]["weights_sha256"] == {"all": load_model(package).weights_sha256("all")}
    assert "Needs about" in ended.err
    assert "Network: " in ended.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["out.seg.nrrd", "report.json"]


def test_options_reach_the_run(capsys, tmp_path: Path, package: Path, image: Path):
    output, maps = tmp_path / "out.nii.gz", tmp_path / "maps"
    arguments = "--roi 4:18,2:16,3:12 --structure structure_2 --keep-largest all --tile-step 0.75 --device cpu"
    more = "--folds all --scan-backend torch --orientation rai --precision float32 -q --json -"
    places = ("-o", output, "-m", package, "--probabilities", maps)
    ended = run(capsys, "segment", image, *places, *arguments.split(), *more.split())
    assert ended.code == 0
    assert ended.err == ""
    said = json.loads(ended.out)
    assert said["options"]["roi"] == [[4, 18], [2, 16], [3, 12]]
    assert said["options"]["structures"] == ["structure_2"]
    assert list(said["scan_backends"]) == ["torch"]
    labels = read_volume(output).voxels
    assert set(np.unique(labels)) <= {0, 2}
    outside = labels.copy()
    outside[3:12, 2:16, 4:18] = 0
    assert not outside.any()
    assert [path.name for path in maps.iterdir()] == ["structure_2.nrrd"]


@pytest.mark.parametrize(("given", "kept"), [((), None), (("none",), []), (("all",), ["all"])])
def test_the_largest_pieces_are_the_models_choice_unless_a_person_says(
    capsys, tmp_path: Path, package: Path, image: Path, given: tuple[str, ...], kept: list[str] | None
):
    words = [word for name in given for word in ("--keep-largest", name)]
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.nrrd", "-m", package, *words, "-q", "--json", "-")
    assert ended.code == 0
    assert json.loads(ended.out)["options"]["keep_largest"] == kept


def test_none_beside_a_name_is_refused(capsys, tmp_path: Path, package: Path, image: Path):
    words = ("--keep-largest", "none", "--keep-largest", "all")
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.nrrd", "-m", package, *words)
    assert ended.code != 0
    assert "Give it alone" in ended.err


def test_orientation_changes_what_the_network_sees(capsys, tmp_path: Path, package: Path, image: Path):
    """Weights at random know no symmetry: a network that sees the image flipped gives other labels."""
    found = []
    for orientation in ("LPS", "as_stored", "RPS"):
        output = tmp_path / f"{orientation}.nrrd"
        assert run(capsys, "segment", image, "-o", output, "-m", package, "--orientation", orientation).code == 0
        found.append(read_volume(output).voxels)
    np.testing.assert_array_equal(found[0], found[1])  # the image is stored as LPS
    assert np.mean(found[0] != found[2]) > 0.01


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (1, 20, 22)])
def test_small_volumes_give_a_whole_result(capsys, tmp_path: Path, package: Path, shape: tuple[int, int, int]):
    image = make_image(tmp_path / "small.nrrd", shape)
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.seg.nrrd", "-m", package)
    assert ended.code == 0, ended.err
    assert read_volume(tmp_path / "out.seg.nrrd").shape == shape


def _broken_inputs(folder: Path) -> dict[str, Path]:
    good = make_image(folder / "good.nii.gz")
    whole = good.read_bytes()
    made = {name: folder / f"{name}.nii.gz" for name in ("missing", "empty", "truncated", "4d", "nan")}
    made["text"] = folder / "text.nrrd"
    made["unknown"] = folder / "notes.txt"
    made["folder"] = folder / "no images"
    made["empty"].touch()
    made["truncated"].write_bytes(whole[: len(whole) // 2])
    made["text"].write_text("this is not an image")
    made["unknown"].write_text("this is not an image")
    made["folder"].mkdir()
    four = SimpleITK.JoinSeries([SimpleITK.Image(4, 4, 4, SimpleITK.sitkInt16)] * 2)
    SimpleITK.WriteImage(four, str(made["4d"]))
    broken = np.zeros((4, 4, 4), np.float32)
    broken[1, 2, 3] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(broken), str(made["nan"]))
    return made


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "unknown", "folder", "4d", "nan"])
def test_a_bad_image_is_refused_in_a_sentence(capsys, tmp_path: Path, package: Path, kind: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    bad = _broken_inputs(tmp_path / "in")[kind]
    ended = run(capsys, "segment", bad, "-o", tmp_path / "out" / "x.seg.nrrd", "-m", package)
    ended.assert_failed(2, str(bad))
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{image}", "{image}", "-m", "{package}"], 2, ["1 input channel"]),
        (["{image}", "-m", "no-such-model"], 3, ["no-such-model"]),
        (["{image}", "-m", "{package}", "--device", "abacus"], 2, ["abacus"]),
        (["{image}", "-m", "{package}", "--device", "cuda:7"], 5, ["cuda:7"]),
        (["{image}", "-m", "{package}", "--structure", "spleen"], 2, ["spleen", "structure_1"]),
        (["{image}", "-m", "{package}", "--folds", "9"], 2, ["no fold 9"]),
        (["{image}", "-m", "{package}", "--roi", "1:2,3:4"], 2, ["--roi"]),
        (["{image}", "-m", "{package}", "--roi", "900:950,0:4,0:4"], 2, ["outside"]),
        (["{image}", "-m", "{package}", "--tile-step", "7"], 2, ["tile step"]),
        (["{image}", "-m", "{package}", "--scan-backend", "fortran"], 2, ["fortran"]),
        (["{image}", "-m", "{package}", "--scan-backend", "mamba_ssm", "--device", "cpu"], 2, ["mamba_ssm"]),
        (["{image}", "-m", "{package}", "--orientation", "LlS"], 2, ["'LlS'"]),
        (["{image}", "-m", "{package}", "--series", "1", "--series", "2"], 2, ["--series"]),
        (["{image}", "-m", "{package}", "--wrong"], 2, ["--wrong", "--help"]),
        ([], 2, ["INPUT"]),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(
    capsys, tmp_path: Path, package: Path, image: Path, arguments: list[str], code: int, words: list[str]
):
    filled = [argument.format(image=image, package=package) for argument in arguments]
    run(capsys, "segment", *filled, "-o", tmp_path / "out.nrrd").assert_failed(code, *words)
    assert not (tmp_path / "out.nrrd").exists()


def test_a_package_with_a_wrong_hash_is_refused(capsys, tmp_path: Path, image: Path):
    package = make_package(tmp_path / "altered")
    weights = package / "fold_all.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.nrrd", "-m", package, "-q")
    ended.assert_failed(3, "SHA-256", "altered")
    assert not (tmp_path / "out.nrrd").exists()


def test_where_nothing_can_be_written_nothing_is_computed(capsys, tmp_path: Path, package: Path, image: Path):
    """The model does not even exist: the place is looked at first."""
    (tmp_path / "file").touch()
    places = [tmp_path / "absent" / "out.nrrd", tmp_path / "file" / "out.nrrd", tmp_path / "out.doc", tmp_path]
    if Path("/proc/self").exists():
        places.append(Path("/proc/out.nrrd"))
    for place in places:
        run(capsys, "segment", image, "-o", place, "-m", "no-such-model").assert_failed(4, place.name)
    good = tmp_path / "out.nrrd"
    for option, place in (("--json", tmp_path / "no" / "r.json"), ("--probabilities", tmp_path / "file")):
        run(capsys, "segment", image, "-o", good, "-m", "no-such-model", option, place).assert_failed(4, place.name)
    run(capsys, "segment", image, "-o", image, "-m", package).assert_failed(2, "input itself")
    assert read_volume(image).voxels.any()


def test_a_fault_is_told_in_a_sentence_and_shown_if_asked_for(capsys):
    @click.command("break")
    def broken() -> None:
        raise KeyError("some\ninner detail")

    root.add_command(broken)
    try:
        run(capsys, "break").assert_failed(70, "fault in mambaseg", "KeyError", "--traceback")
    finally:
        del root.commands["break"]


def test_traceback_where_asked_for(capsys, tmp_path: Path):
    ended = run(capsys, "segment", tmp_path / "absent.nrrd", "-o", tmp_path / "out.nrrd", "--traceback")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert ended.err.strip().splitlines()[-1].startswith("mambaseg: There is no file")


def test_forecast_speaks_and_computes_nothing(capsys, package: Path, image: Path):
    ended = run(capsys, "forecast", image, "-m", package)
    assert ended.code == 0
    assert ended.out.startswith("Needs about")
    said = json.loads(run(capsys, "forecast", image, "-m", package, "--json", "-").out)
    assert said["fits"] is True
    assert said["tiles"] >= 1
    assert said["host_bytes"] > 0


def test_models_come_in_are_shown_verified_and_go(capsys, tmp_path: Path, package: Path):
    assert run(capsys, "models", "import", package).out.strip() == "trial"
    rows = {row["id"]: row for row in json.loads(run(capsys, "models", "list", "--json").out)}
    assert rows["trial"]["state"] == "installed"
    assert rows["trial"]["licence"] == "Apache-2.0"
    assert rows["trial"]["bytes"] > 0
    assert "trial" in run(capsys, "models", "list").out
    shown = run(capsys, "models", "info", "trial").out
    assert "umamba_bot" in shown
    assert "structure_2" in shown
    assert json.loads(run(capsys, "models", "info", "trial", "--json").out)["id"] == "trial"
    assert "Random weights" in run(capsys, "models", "info", "trial", "--card").out
    copy = tmp_path / "copy.mambaseg"
    assert run(capsys, "models", "export", "trial", copy).code == 0
    assert copy.read_bytes() == package.read_bytes()
    run(capsys, "models", "export", "trial", copy).assert_failed(4, "there already")
    assert "trial: whole" in run(capsys, "models", "verify").out
    weights = Store().root / "trial" / "fold_all.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    ended = run(capsys, "models", "verify", "trial")
    assert ended.code == 3
    assert "truncated" in ended.err
    assert run(capsys, "models", "remove", "trial").code == 0
    run(capsys, "models", "remove", "trial").assert_failed(3, "trial")
    run(capsys, "models", "download", "trial").assert_failed(3, "catalogue")
    run(capsys, "models", "info", "trial").assert_failed(3, "trial")


def test_the_only_installed_model_is_the_default(capsys, tmp_path: Path, package: Path, image: Path):
    run(capsys, "models", "import", package)
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.nrrd")
    from mambaseg.models import bundled_models

    if "ct-head-neck" in bundled_models():
        ended.assert_failed(3, "ct-head-neck", "trial")
    else:
        assert ended.code == 0, ended.err


def test_the_head_and_neck_model_runs_where_none_is_named(capsys, tmp_path: Path, image: Path):
    ended = run(capsys, "segment", image, "-o", tmp_path / "out.nrrd")
    assert ended.code == 0, ended.err
    assert "(ct-head-neck " in ended.err


def test_phantom_and_its_labels(capsys, tmp_path: Path):
    ct, labels = tmp_path / "ct.nii.gz", tmp_path / "l.seg.nrrd"
    arguments = ["--shape", 20, 24, 30, "--spacing", 9, 9, 10, "--orientation", "RAS", "--seed", 3]
    assert run(capsys, "phantom", "-o", ct, "--labels", labels, *arguments).code == 0
    volume = read_volume(ct)
    assert volume.shape == (30, 24, 20)
    assert volume.geometry.axis_letters() == "RAS"
    assert volume.geometry.spacing == pytest.approx((9, 9, 10))
    assert read_volume(labels).voxels.max() > 0
    run(capsys, "phantom", "-o", ct, "--orientation", "XYZ").assert_failed(2, "'XYZ'")


def test_doctor_is_text_or_json(capsys):
    text = run(capsys, "doctor").out
    for word in ("torch", "numba", "Trial run", "reference on cpu", "free disk"):
        assert word in text
    assert {finding["topic"] for finding in json.loads(run(capsys, "doctor", "--json").out)["findings"]} >= {"Devices"}
