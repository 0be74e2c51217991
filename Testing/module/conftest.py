"""A Slicer for the Slicer side's tests: ``scene`` (MRML, no Qt), ``app`` (the whole harness), ``views`` (pictures).

Everything starts once a process and on the first test that asks for it; a machine that lacks a part skips in words.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

PROBE = "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(16, 16); w.Render()"


@pytest.fixture(scope="session")
def mrml_session() -> Any:
    """The process's MRML session; use ``scene``."""
    try:
        from harness import session

        return session.start()
    except ImportError as error:
        pytest.skip(f"slicer-core, the real MRML scene, is not installed here or its libraries do not load ({error})")


@pytest.fixture
def scene(mrml_session: Any) -> Any:
    """The real ``slicer.mrmlScene``, cleared; ``slicer.util``'s Qt-free functions and module logics work."""
    mrml_session.clear()
    return mrml_session.scene


@pytest.fixture(scope="session")
def qt_application(mrml_session: Any) -> Any:
    """The process's harness with Qt; use ``app``."""
    assert mrml_session is not None
    try:
        from harness import application
    except ImportError as error:
        pytest.skip(f"PySide6, or a library that it needs (libEGL, libGL, libxkbcommon), is not here ({error})")
    return application.boot()


@pytest.fixture
def app(qt_application: Any, scene: Any) -> Iterator[Any]:
    """The whole harness on a cleared scene; a test fails if a slot raised, as nothing else would tell."""
    assert scene is not None
    qt_application.begin()
    yield qt_application
    errors = qt_application.end()
    if errors:
        pytest.fail("slots raised (Slicer would only have printed it):\n" + "\n".join(errors), pytrace=False)


@pytest.fixture(scope="session")
def rendering() -> None:
    """Skip where nothing can be drawn; tried in a process of its own, which a missing driver may abort."""
    tried = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, timeout=120)
    if tried.returncode or "ERR" in tried.stderr:
        pytest.skip("VTK cannot draw offscreen here (EGL is missing: Debian's libegl1 and libgl1-mesa-dri)")


@pytest.fixture(scope="session")
def offscreen_views(request: pytest.FixtureRequest, mrml_session: Any) -> Any:
    """The process's views; use ``views``."""
    request.getfixturevalue("rendering")
    from harness.views import Views

    return Views(mrml_session)


@pytest.fixture
def views(offscreen_views: Any, scene: Any) -> Any:
    """Offscreen slice and 3D views of the cleared scene (``harness.views.Views``), which write PNG files."""
    assert scene is not None
    return offscreen_views
