"""Stand-in for slicer.i18n: no translation is loaded, so every text is returned as it is."""

from __future__ import annotations

import inspect
from pathlib import Path

import slicer


def translate(context: str, text: str) -> str:
    """Translate a text of a context."""
    if not isinstance(text, str):
        raise TypeError(f"translate: the text is {type(text).__name__}, not str")
    # Without an application (PythonSlicer) Slicer gives the text back too.
    return slicer.app.translate(context, text) if hasattr(slicer, "app") else text


def getContext(sourceFile: str) -> str:
    """Translation context of a source file: its name, after its package's where it lies in one."""
    source = Path(sourceFile)
    name = source.name.removesuffix(".py")
    return f"{source.parent.name}.{name}" if (source.parent / "__init__.py").is_file() else name


def tr(text: str) -> str:
    """Translate a text in the context of the calling file."""
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    context = getContext(inspect.getfile(caller)) if caller else ""
    return translate(context, text)
