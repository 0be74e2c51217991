"""The README's scripting section is executed as it stands, in its order, as in one session of Slicer's console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from panel_person import MODULE, ROOT


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Scripting\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def _engine_ends() -> Iterator[None]:
    """No panel is opened here that would end the engine, and the next test has another store."""
    yield
    from UMambaSegmentLib.runs.session import close_shared_session

    close_shared_session()


@pytest.mark.usefixtures("_engine_ends")
def test_the_scripting_section_runs(app: Any, tmp_path: Path, capsys: Any) -> None:
    import slicer

    from mambaseg.phantom import make_phantom
    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    app.without_main_window()
    app.load_module(MODULE)
    add_phantom_volume("HeadNeckPhantom", spacing=(6.0, 6.0, 6.0), shape=(48, 56, 56))
    given = tmp_path / "in"
    given.mkdir()
    phantom = make_phantom(spacing=(7.0, 7.0, 7.0), shape=(32, 40, 40)).volume
    image = sitk.GetImageFromArray(phantom.voxels)
    image.SetSpacing(phantom.geometry.spacing)
    sitk.WriteImage(image, str(given / "case.nii.gz"))
    names: dict[str, Any] = {"slicer": slicer, "inputFolder": given, "outputFolder": tmp_path / "out"}
    found = blocks()
    assert len(found) >= 4
    for block in found:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102  (the README is what is tested)
    printed = capsys.readouterr().out
    assert "demo-phantom" in printed
    assert "network" in printed
    assert "case done" in printed
    assert names["segmentationNode"].GetSegmentation().GetNumberOfSegments() == 7
    assert names["parotids"].GetName() == "Parotids"
    assert names["parotids"].GetSegmentation().GetNumberOfSegments() == 2
