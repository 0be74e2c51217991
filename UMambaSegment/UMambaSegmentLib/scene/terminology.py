"""Slicer's serialised terminology entry for a segment.

Source: ``vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry``, which is called here itself, so that the
format is the running Slicer's own.
"""

from __future__ import annotations

from typing import Any

from mambaseg.models.spec import Code, Terminology

CATEGORY_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
_SEPARATORS = str.maketrans(dict.fromkeys("^~|", " "))


def _parts(code: Code | None) -> tuple[str, str, str]:
    """Value, scheme and meaning (the order that Slicer's function takes), without the characters that separate."""
    if code is None:
        return "", "", ""
    value, scheme, meaning = (
        " ".join(text.translate(_SEPARATORS).split()) for text in (code.value, code.scheme, code.meaning)
    )
    return value, scheme, meaning


def serialised_entry(terminology: Terminology | None) -> str:
    """Give the text of a segment's terminology tag; empty for a label without codes."""
    if terminology is None:
        return ""
    import slicer

    entry: Any = slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        CATEGORY_CONTEXT,
        *_parts(terminology.category),
        *_parts(terminology.type),
        *_parts(terminology.type_modifier),
        REGION_CONTEXT,
        *_parts(terminology.region),
        *_parts(terminology.region_modifier),
    )
    return str(entry)
