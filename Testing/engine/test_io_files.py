"""Files appear whole, together or not at all, and never in the place of a device or a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mambaseg.errors import OutputError
from mambaseg.io import check_writable
from mambaseg.io.files import check_place, replacing, together

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")


def _write(path: Path, text: str = "new") -> None:
    with replacing(path, path.suffix) as temporary:
        temporary.write_text(text)


@needs_pipes
def test_a_pipe_is_refused_and_stays(tmp_path: Path):
    pipe = tmp_path / "pipe.nrrd"
    os.mkfifo(pipe)
    (tmp_path / "link.nrrd").symlink_to(pipe)
    for place in (pipe, tmp_path / "link.nrrd"):
        for attempt in (_write, check_place, check_writable):
            with pytest.raises(OutputError, match="device, a pipe"):
                attempt(place)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(OutputError, match="is a folder"):
        _write(tmp_path)


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.json", tmp_path / "link.json"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this user may make no symbolic links")
    for text in ("first", "second"):  # the target is not there yet, then it is
        check_place(link)
        _write(link, text)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert target.read_text() == text
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["target.json"]


def test_a_link_in_a_circle_or_to_nowhere_is_refused(tmp_path: Path):
    circle, lost = tmp_path / "a.json", tmp_path / "b.json"
    try:
        circle.symlink_to(circle)
        lost.symlink_to(tmp_path / "absent" / "b.json")
    except OSError:
        pytest.skip("this user may make no symbolic links")
    for place in (circle, lost):
        with pytest.raises(OutputError):
            check_place(place)
        with pytest.raises(OutputError):
            _write(place)
        assert place.is_symlink()


def _write_together(
    places: tuple[Path, ...], folder: Path | None = None, meanwhile: Callable[[], object] = int
) -> None:
    """Write ``new`` to all, with something happening before they get their names."""
    with together() as files:
        if folder is not None:
            files.make_folder(folder)
        for place in places:
            with files.part(place, ".txt") as temporary:
                temporary.write_text("new")
            assert files.size(place) == 3
        meanwhile()


def _fail() -> None:
    raise KeyError


def test_all_appear_or_none(tmp_path: Path):
    folder = tmp_path / "maps"
    places = (tmp_path / "a.txt", folder / "b.txt")
    places[0].write_text("old")
    with pytest.raises(KeyError):
        _write_together(places, folder, _fail)
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.txt"]
    assert places[0].read_text() == "old"
    _write_together(places, folder)
    assert [place.read_text() for place in places] == ["new", "new"]


def test_where_one_cannot_be_renamed_the_new_ones_go(tmp_path: Path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    with pytest.raises(OutputError, match=r"b\.txt"):
        _write_together((first, second), meanwhile=second.mkdir)  # somebody else was faster
    assert not first.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_that_was_there_stays(tmp_path: Path):
    (tmp_path / "maps").mkdir()
    with pytest.raises(KeyError):
        _write_together((), tmp_path / "maps", _fail)
    assert (tmp_path / "maps").is_dir()
