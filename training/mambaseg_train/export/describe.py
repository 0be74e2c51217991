"""The description (``model.json``) of an exported model: the importer's, with what training and evaluation know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mambaseg.errors import OptionError
from mambaseg.inference.postprocess import choose_labels
from mambaseg.models.schema import label_from_json
from mambaseg.models.spec import AS_STORED, Figure, Label, ModelSpec
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.report import Evaluation
from mambaseg_train.export.licences import UNKNOWN
from mambaseg_train.export.provenance import FOLD, FoldFacts, Part
from mambaseg_train.networks.traits import NETWORKS


@dataclass(frozen=True)
class Details:
    """What a person says of a model; what is empty is worked out.

    Attributes
    ----------
    id, version, title, text
        As the list of models shows them.
    family, variant
        The list entry that several architectures of a task share, and which of them this is.
    licence, licence_file, citation
        Of the weights; the data set's own where empty.
    orientation
        ``as_stored`` or three letters.
    keep_largest
        Structures of which a run keeps the largest component only, unless told otherwise; ``all`` for every one.
    notes
        Sentences for the card.
    checked
        What was tried beside the figures, in sentences for the card.
    comparison
        Record of `mambaseg-train compare` (``comparison.json``) whose table the card shows.
    """

    id: str = ""
    version: str = "1"
    title: str = ""
    text: str = ""
    family: str = ""
    variant: str = ""
    licence: str = ""
    licence_file: Path | None = None
    citation: str = ""
    orientation: str = ""
    keep_largest: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    comparison: Path | None = None


def own_part(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands under ``mambaseg`` in ``dataset.json``."""
    own = dataset.get("mambaseg") or {}
    return own if isinstance(own, Mapping) else {}


def line(value: Any) -> str:
    """Text on one line."""
    return " ".join(str(value or "").split())


def data_line(dataset: Mapping[str, Any]) -> str:
    """One line on the data set."""
    own = own_part(dataset)
    name, text = line(dataset.get("name")), line(dataset.get("description"))
    home = line(own.get("home") or dataset.get("reference"))
    parts = [f"{text} ({name})" if text and name else text or name or "not named", home]
    return ", ".join(part for part in parts if part)


def data_licence(dataset: Mapping[str, Any]) -> str:
    """Licence of the data, as far as ``dataset.json`` says."""
    return line(own_part(dataset).get("licence") or dataset.get("licence") or dataset.get("license"))


def orientation_of(dataset: Mapping[str, Any], wanted: str) -> str:
    """How images must be turned.

    nnU-Net's SimpleITK reader takes arrays as they are stored, whatever their direction; so does the model, unless the
    data set says that its images were turned to one orientation.
    """
    return wanted or line(own_part(dataset).get("orientation")) or AS_STORED


def describe_model(
    imported: ModelSpec,
    dataset: Mapping[str, Any],
    facts: Sequence[FoldFacts],
    details: Details,
    *,
    figures: tuple[Figure, ...] = (),
    evaluation: Evaluation | None = None,
    control: Evaluation | None = None,
) -> ModelSpec:
    """Complete an imported description.

    Raises
    ------
    DataError
        If the data set's structures are not the network's labels, or none is named as asked for.
    """
    named = NETWORKS[imported.network.name].title
    tested = None if evaluation is None else Part.of(evaluation.cases)
    label = data_line(dataset)
    return replace(
        imported,
        id=details.id or imported.id,
        version=details.version,
        title=details.title or imported.title,
        text=details.text or f"{named}, trained with mambaseg-train. Structures: {_names(imported)}.",
        family=details.family or line(dataset.get("name")) or imported.source.get("dataset", ""),
        variant=details.variant or named,
        labels=_labels(imported, dataset),
        paired_labels=_pairs(imported, dataset),
        keep_largest=single_names(imported, dataset, details),
        trained_on=_trained_on(label, facts),
        tested_on="" if evaluation is None else _tested_on(evaluation, label, facts),
        figures=figures,
        licence=details.licence or data_licence(dataset) or UNKNOWN,
        citation=details.citation or line(own_part(dataset).get("citation")),
        source={
            **imported.source,
            "recipe": line(own_part(dataset).get("recipe")),
            "data_licence": data_licence(dataset),
            "training": {fold.fold: _facts(fold) for fold in facts},
            **({} if tested is None else {"tested": tested.to_json()}),
            **({} if evaluation is None else {"measured_with": dict(evaluation.versions)}),
            **({} if control is None else {"control": control.model}),
        },
    )


def _facts(fold: FoldFacts) -> dict[str, Any]:
    plain = asdict(fold)
    plain.pop("fold")
    plain["parts"] = {part: cases.to_json() for part, cases in fold.parts.items()}
    return plain


def _names(spec: ModelSpec) -> str:
    return ", ".join(label.name for label in spec.labels)


def single_names(imported: ModelSpec, dataset: Mapping[str, Any], details: Details) -> tuple[str, ...]:
    """Structures of which the package advises keeping the largest component alone.

    Raises
    ------
    DataError
        If one that was asked for is not there.
    """
    labels = _labels(imported, dataset)
    try:
        return tuple(label.name for label in choose_labels(labels, details.keep_largest, "keep_largest"))
    except OptionError as error:
        raise DataError(str(error)) from error


def _trained_on(label: str, facts: Sequence[FoldFacts]) -> str:
    counts = [len(fold.training) for fold in facts if fold.training]
    if not counts:
        return label
    number = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    each = " in each fold" if len(counts) > 1 else ""
    return f"{number} cases{each} of {label}"


def _tested_on(evaluation: Evaluation, label: str, facts: Sequence[FoldFacts]) -> str:
    text = f"{len(evaluation.cases)} cases of {label}"
    if not facts or not all(fold.training for fold in facts):
        return text
    by_folds = any(group.startswith(FOLD) for group in evaluation.groups)
    return text + (", each by a fold that was not trained on it" if by_folds else ", none of them trained on")


def _labels(spec: ModelSpec, dataset: Mapping[str, Any]) -> tuple[Label, ...]:
    """The data set's structures, where it brings colours and codes of its own; else the importer's."""
    given = own_part(dataset).get("structures")
    if not given or spec.regions is not None:
        return spec.labels
    try:
        own = tuple(label_from_json(value) for value in given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"'mambaseg.structures' in the data set's dataset.json cannot be read ({error!r}). Write name, value and "
            "color of each label, or leave it out."
        ) from error
    if {(each.name, each.value) for each in own} != {(each.name, each.value) for each in spec.labels}:
        raise DataError(
            f"'mambaseg.structures' in the data set's dataset.json are not its labels ({_names(spec)}). Correct it, or "
            "leave it out."
        )
    by_value = {each.value: each for each in own}
    return tuple(by_value[label.value] for label in spec.labels)


def _pairs(spec: ModelSpec, dataset: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Left and right as the data set declares them; else what the names tell."""
    values = {label.name: label.value for label in spec.labels}
    declared = [tuple(pair) for pair in own_part(dataset).get("paired_labels") or []]
    if not declared:
        return spec.paired_labels
    unknown = [name for pair in declared for name in pair if name not in values]
    if unknown or any(len(pair) != 2 for pair in declared):
        raise DataError("'mambaseg.paired_labels' in the data set's dataset.json must hold pairs of its labels' names.")
    return tuple((values[left], values[right]) for left, right in declared)
