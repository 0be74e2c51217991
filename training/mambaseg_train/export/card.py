"""The model card: what the model is, what it was trained and tested on, and the figures, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mambaseg.models.spec import Figure, Label, ModelSpec
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.report import Evaluation
from mambaseg_train.export.figures import WANTED
from mambaseg_train.export.provenance import FoldFacts, Part

_SETTINGS = (
    *("optimizer", "lr", "schedule", "restart", "weight_decay", "dice_weight", "ce_weight", "mirror"),
    *("bfloat16", "amp", "seed"),
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the model's description.

    Attributes
    ----------
    data
        One line on the data.
    data_licence
        Of the data.
    folds
        Facts of each fold's training.
    evaluation, control
        Evaluations behind the figures.
    tested
        Cases behind the figures.
    remarks
        What a reader of the figures must know.
    checks
        Sentences on what was checked at export.
    exported_with
        Versions at export.
    notes
        Sentences to add, such as what the model is not for.
    plot
        Name of the plot's file beside the card; empty for none.
    compared
        A comparison of networks, in Markdown.
    """

    data: str
    data_licence: str
    folds: tuple[FoldFacts, ...] = ()
    evaluation: Evaluation | None = None
    control: Evaluation | None = None
    tested: Part | None = None
    remarks: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    exported_with: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    plot: str = ""
    compared: str = ""


def make_card(spec: ModelSpec, facts: CardFacts) -> str:
    """Write the card."""
    parts = [
        f"# {spec.title}",
        spec.text,
        "Not a medical device: not for clinical use.",
        *facts.notes,
        _section("What it is", _about(spec, "mm" if facts.evaluation is None else facts.evaluation.unit)),
        _section("Structures", _structures(spec.labels)),
        _section("Data", _data(spec, facts)),
        _section("Measured", _measured(spec.figures, facts)),
        _section("Checked", "\n\n".join(facts.checks)) if facts.checks else "",
        _section("Networks compared", facts.compared) if facts.compared else "",
        _section("Training", _training(facts)),
        _section("Licence and citation", _rights(spec, facts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _items(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in pairs if value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _about(spec: ModelSpec, unit: str) -> str:
    patch, spacing = _numbers(spec.patch_size), _numbers(spec.spacing)
    channels = ", ".join(f"{channel.role} ({channel.modality})" for channel in spec.channels)
    return _items(
        [
            ("Network", f"`{spec.network.name}`, {spec.network.spatial_dims}D"),
            ("Input", channels),
            ("Patch", f"{patch} samples, one every {spacing} {unit} (the network's axis order)"),
            ("Orientation", f"`{spec.orientation}`"),
            ("Folds", ", ".join(spec.folds)),
            ("Keeps", _pieces(spec)),
        ]
    )


def _pieces(spec: ModelSpec) -> str:
    if not spec.keep_largest:
        return ""
    every = len(spec.keep_largest) == len(spec.labels)
    return (
        f"the largest component of {'each structure' if every else ', '.join(spec.keep_largest)}, unless told otherwise"
    )


def _structures(labels: Sequence[Label]) -> str:
    rows = []
    for label in labels:
        codes = label.terminology
        parts = [] if codes is None else [codes.type, *([codes.type_modifier] if codes.type_modifier else [])]
        meaning = ", ".join(f"{code.meaning} ({code.scheme} {code.value})" for code in parts) or "-"
        rows.append([str(label.value), label.name, meaning, "#{:02x}{:02x}{:02x}".format(*label.color)])
    return _table(["value", "structure", "code", "colour"], rows)


def _data(spec: ModelSpec, facts: CardFacts) -> str:
    lines = [("Data", facts.data), ("Licence of the data", facts.data_licence or "not stated")]
    lines += [("Trained on", spec.trained_on), ("Tested on", spec.tested_on or "nothing")]
    rows = [
        [f"fold {fold.fold}", part, str(len(cases.names)), f"`{cases.sha256}`"]
        for fold in facts.folds
        for part, cases in fold.parts.items()
    ]
    if facts.tested is not None:
        rows.append(["all", "tested", str(len(facts.tested.names)), f"`{facts.tested.sha256}`"])
    if not any(fold.parts for fold in facts.folds):
        lines.append(("Split", "not recorded by the trainer"))
    table = _table(["fold", "part", "cases", "SHA-256 of the sorted case names, one a line"], rows) if rows else ""
    return _items(lines) + (f"\n\n{table}" if table else "")


def _measured(figures: Sequence[Figure], facts: CardFacts) -> str:
    if facts.evaluation is None or not figures:
        return "Nothing was measured for this export."
    head = ["measure", "structure", "mean", "standard deviation", "cases"]
    if facts.control is not None:
        head += [f"control ({facts.control.model})", "difference"]
    rows = []
    for figure in figures:
        digits = 2 if figure.unit else 3
        unit = f" {figure.unit}" if figure.unit else ""
        spread = "-" if figure.spread is None else f"{figure.spread:.{digits}f}"
        row = [figure.metric, figure.structure, f"{figure.value:.{digits}f}{unit}", spread, str(figure.cases)]
        if facts.control is not None:
            control = figure.control
            row += (
                ["-", "-"]
                if control is None
                else [f"{control:.{digits}f}{unit}", f"{figure.value - control:+.{digits}f}"]
            )
        rows.append(row)
    plot = [f"![Every case, by structure]({facts.plot})"] if facts.plot else []
    parts = [_table(head, rows), *plot, _reading(facts.evaluation, facts.control), *facts.remarks]
    return "\n\n".join([*parts, *_by_group(facts.evaluation), *_worst(facts.evaluation), _absent(facts.evaluation)])


def _reading(evaluation: Evaluation, control: Evaluation | None) -> str:
    text = "The standard deviation is that over cases."
    if evaluation.groups:
        groups = ", ".join(evaluation.groups)
        text += f" The predictions were made in groups ({groups}): each case by the fold or seeds named there."
    if control is None:
        text += " No control was measured beside it, so these figures do not say whether the Mamba layers help."
    return text


def _by_group(evaluation: Evaluation) -> list[str]:
    """How folds or seeds differ, over all structures."""
    if not evaluation.groups:
        return []
    shown = [item for item in evaluation.overall if item.measure in WANTED and item.groups] or evaluation.overall[:1]
    rows = []
    for item in shown:
        about = measure(item.measure)
        digits, unit = (2, f" {evaluation.unit}") if about.is_distance else (3, "")
        means = [f"{item.groups.get(group, math.nan):.{digits}f}" for group in evaluation.groups]
        spread = "-" if math.isnan(item.group_sd) else f"{item.group_sd:.{digits}f}{unit}"
        rows.append([about.title, *(mean.replace("nan", "-") for mean in means), spread])
    head = ["all structures", *evaluation.groups, "standard deviation between them"]
    return [_table(head, rows)]


def _worst(evaluation: Evaluation) -> list[str]:
    """How good it is in the middle and at its worst: a mean hides the cases in which a person has most to mend."""
    key = next((key for key in WANTED if key in evaluation.settings.keys), "")
    rows = []
    for item in evaluation.structures:
        found = next((part for part in item.statistics if part.measure == key and part.count), None)
        if found is not None:
            worst = ", ".join(f"{value:.3f}" for _, value in found.worst[:3])
            rows.append([item.name, f"{found.median:.3f}", worst])
    title = measure(key).title if key else ""
    return [_table(["structure", f"{title}, median", "three worst cases"], rows)] if rows else []


def _absent(evaluation: Evaluation) -> str:
    """How often a structure was missed altogether or invented, which means hide."""
    rows = [[item.name, str(item.missed), str(item.invented)] for item in evaluation.structures]
    return _table(["structure", "predictions that miss it altogether", "predictions that invent it"], rows)


def _training(facts: CardFacts) -> str:
    if not any(fold.settings for fold in facts.folds):
        return "The trainer kept no record of its settings."
    rows = [_fold_row(fold) for fold in facts.folds]
    table = _table(["fold", "steps", "seed", "settings", "device"], rows)
    trained = _versions(next((fold.versions for fold in facts.folds if fold.versions), {}))
    return f"{table}\n\n" + _items([("Trained with", trained), ("Exported with", _versions(facts.exported_with))])


def _fold_row(fold: FoldFacts) -> list[str]:
    # mixed precision is CUDA's; elsewhere the setting has no effect
    other = "amp" if fold.device.startswith(("cpu", "mps")) else "bfloat16"
    unused = {other} if fold.settings.get("restart") else {other, "restart"}
    shown = [key for key in _SETTINGS[:-1] if key not in unused]
    settings = ", ".join(
        [*(f"{key} {_plain(fold.settings[key])}" for key in shown if key in fold.settings), *fold.changes]
    )
    return [fold.fold, str(fold.steps), _plain(fold.settings.get("seed", "-")), settings or "-", fold.device or "-"]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _rights(spec: ModelSpec, facts: CardFacts) -> str:
    cited = spec.citation or "not stated"
    return _items(
        [
            ("Licence of the weights", spec.licence),
            ("Licence of the data", facts.data_licence or "not stated"),
            ("Cite", cited),
        ]
    )
