"""The README's table of bundled models, made from the packages themselves."""

from __future__ import annotations

from collections.abc import Iterable

from mambaseg.defaults import DEMONSTRATION
from mambaseg.models import bundled_models, load_model
from mambaseg.models.spec import Figure, ModelSpec

BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"
_CARD = "UMambaSegment/mambaseg/models/bundled/{id}/card.md"
_SHOWN = ("Dice", "Instance F1")


def block() -> str:
    """What stands between the markers: a row a structure, the demonstration's model left out."""
    specs = [load_model(name).spec for name in sorted(bundled_models()) if name != DEMONSTRATION]
    return block_of(specs)


def block_of(specs: Iterable[ModelSpec]) -> str:
    """The table of some models."""
    lines = [
        BEGIN,
        "",
        "Made by `mambaseg-train table` from the packages. Held-out cases only, in their own voxels.",
        "",
        "| model | network | weights | structure | measure | mean ± SD over cases | cases |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spec in specs:
        figures = [figure for figure in spec.figures if figure.metric in _SHOWN]
        lines += [_row(spec, figure, first=not place) for place, figure in enumerate(figures)]
    return "\n".join([*lines, "", END])


def _row(spec: ModelSpec, figure: Figure, *, first: bool) -> str:
    megabytes = sum(entry.bytes for entry in spec.weights) / 1e6
    cells = ["", "", ""]
    if first:
        cells = [f"[`{spec.id}`]({_CARD.format(id=spec.id)})", spec.variant, f"{megabytes:.1f} MB"]
    spread = "" if figure.spread is None else f" ± {figure.spread:.3f}"
    cells += [figure.structure, figure.metric, f"{figure.value:.3f}{spread}", str(figure.cases)]
    return f"| {' | '.join(cells)} |"
