"""A model in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mambaseg.cli.output import size_text, table

if TYPE_CHECKING:
    from mambaseg.models.catalogue import Entry
    from mambaseg.models.model import Model


def describe(model: Model) -> str:
    """Everything a person asks of a model before using it."""
    spec = model.spec
    size = sum(entry.bytes for entry in spec.weights)
    facts = [
        ("id", spec.id),
        ("version", spec.version),
        ("network", spec.network.name),
        ("input", ", ".join(f"{channel.role} ({channel.modality})" for channel in spec.channels)),
        ("spacing", " x ".join(f"{value:g}" for value in spec.spacing) + " mm"),
        ("patch", " x ".join(str(value) for value in spec.patch_size)),
        ("orientation", spec.orientation),
        ("folds", f"{', '.join(spec.folds)} ({size_text(size)})"),
        ("licence", spec.licence or "not stated"),
        ("trained on", spec.trained_on),
        ("tested on", spec.tested_on),
        ("citation", spec.citation),
        ("from", model.origin),
    ]
    parts = [spec.title, *([spec.text] if spec.text else []), "", table([fact for fact in facts if fact[1]])]
    structures = [("value", "structure", "code"), *((str(s.value), s.name, _code(s.terminology)) for s in spec.labels)]
    parts += ["", table(structures, right=(0,))]
    if spec.figures:
        head = ("measured", "structure", "value", "control")
        figures = [
            (f.metric, f.structure, f"{f.value:g} {f.unit}".strip(), "" if f.control is None else f"{f.control:g}")
            for f in spec.figures
        ]
        parts += ["", table([head, *figures], right=(2, 3))]
    return "\n".join(parts)


def _code(terminology: object) -> str:
    kind = getattr(terminology, "type", None)
    return "" if kind is None else f"{kind.scheme} {kind.value}"


def describe_entry(entry: Entry) -> str:
    """A model of the catalogue that is not here yet."""
    facts = [
        ("id", entry.id),
        ("version", entry.version),
        ("network", entry.network),
        ("modality", entry.modality),
        ("structures", ", ".join(entry.structures)),
        ("size", size_text(entry.bytes)),
        ("licence", f"{entry.licence} {entry.licence_url}".strip()),
        ("superseded by", entry.superseded_by),
    ]
    known = table([fact for fact in facts if fact[1]])
    return f"{entry.title}\n{entry.text}\n\n{known}\n\nFetch it with 'mambaseg models download {entry.id}'."
