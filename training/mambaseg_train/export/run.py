"""Export: import the training, describe it, check it, write the package, and load that again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.errors import OutputError
from mambaseg.models import load_model, write_package
from mambaseg.models.files import PACKAGE_SUFFIX, remove_tree
from mambaseg.models.importers.nnunet import find_results_folder, import_nnunet
from mambaseg.models.model import Model
from mambaseg.models.package import PLOT
from mambaseg.models.spec import ModelSpec
from mambaseg_train.compare.readme import one
from mambaseg_train.compare.record import read_record
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.report import Evaluation
from mambaseg_train.export.card import CardFacts, make_card
from mambaseg_train.export.describe import (
    Details,
    data_licence,
    data_line,
    describe_model,
    line,
    orientation_of,
    single_names,
)
from mambaseg_train.export.figures import make_figures
from mambaseg_train.export.images import CaseImages, find_images, first_cases
from mambaseg_train.export.licences import allows_pictures, licence_text
from mambaseg_train.export.measured import Measured, read_measured
from mambaseg_train.export.provenance import FoldFacts, Part, read_dataset, read_facts

if TYPE_CHECKING:
    from mambaseg_train.export.verify import Agreement  # needs nnU-Net, which takes seconds to load

Say = Callable[[str], None]
_FINAL = "checkpoint_final"
_BY_DEFAULT = 1  # case that is verified


@dataclass(frozen=True)
class Order:
    """What is to be exported.

    Attributes
    ----------
    results
        nnU-Net's results folder (``Trainer__Plans__configuration``).
    destination
        The package: a name that ends in ``.mambaseg``, or a folder's.
    checkpoint
        Name without ending.
    folds
        None takes the numbered ones that have the checkpoint, else ``all``.
    summary, control
        ``summary.json`` of the model's and of the control's evaluation.
    details
        What a person says of the model.
    raw
        Raw data set's folder, for verification and the picture; None looks beside the results.
    verify
        How many cases are segmented by both nnU-Net and the package; None takes one where images are at hand.
    picture
        Whether a thumbnail is drawn where the data's licence allows.
    half
        Store weights as float16.
    overwrite
        Replace what is at the destination.
    """

    results: Path
    destination: Path
    checkpoint: str = _FINAL
    folds: tuple[str, ...] | None = None
    summary: Path | None = None
    control: Path | None = None
    details: Details = field(default_factory=Details)
    raw: Path | None = None
    verify: int | None = None
    picture: bool = True
    half: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """A package that was written, whether a picture lies in it, and the cases held against nnU-Net's labels."""

    place: Path
    spec: ModelSpec
    card: str
    pictured: bool
    verified: tuple[Agreement, ...] = ()


def export_package(order: Order, say: Say = print) -> Exported:
    """Turn a finished training into a model package.

    The package appears under its name only after the engine loaded it and, where images are at hand, its labels were
    found to be nnU-Net's.

    Raises
    ------
    ModelError
        If the training is not one that the engine imports.
    DataError
        If figures are of cases that were trained on, of other weights, pieces or data, or of other cases than the
        control's; if images are missing.
    RunError
        If labels do not agree with nnU-Net's.
    OutputError
        If the package cannot be written, or something is there already.
    """
    results = find_results_folder(order.results)
    if order.destination.exists() and not order.overwrite:
        raise OutputError(f"'{order.destination}' is there already. Choose another name, or give --replace.")
    dataset = read_dataset(results)
    wanted = orientation_of(dataset, order.details.orientation)
    imported = import_nnunet(results, checkpoint=order.checkpoint, folds=order.folds, orientation=wanted)
    imported.check_loads()
    facts = read_facts(results, imported.folds)
    measured = _measured(order, results, dataset, imported, facts)
    evaluation = None if measured is None else measured.evaluation
    control = None if measured is None else measured.control
    figures = () if evaluation is None else make_figures(evaluation, control)
    plot = _plot(order, evaluation)
    spec = describe_model(
        imported.spec, dataset, facts, order.details, figures=figures, evaluation=evaluation, control=control
    )
    say(f"{spec.title}: folds {', '.join(spec.folds)}, {len(spec.labels)} structures, {len(figures)} figures")
    for remark in () if measured is None else measured.remarks:
        say(f"  {remark}")
    card = replace(_card_facts(order, dataset, facts, measured), plot="" if plot is None else PLOT)
    return _write(order, results, dataset, imported, spec, card, plot, say)


def _plot(order: Order, evaluation: Evaluation | None) -> bytes | None:
    if order.summary is None or evaluation is None:
        return None
    from mambaseg_train.export.plot import figures_plot  # needs Matplotlib, which takes long to load

    return figures_plot(order.summary, evaluation)


def _measured(
    order: Order, results: Path, dataset: Mapping[str, Any], imported: Model, facts: tuple[FoldFacts, ...]
) -> Measured | None:
    if order.summary is None:
        if order.control is not None:
            raise DataError("A control's figures stand beside the model's own: give --figures as well.")
        return None
    # As nnU-Net, dataset.json and the plans call it; an evaluation says what dataset.json does, else the folder
    names = {results.parent.name, line(dataset.get("name")), line(imported.spec.source.get("dataset"))} - {""}
    weights = {fold: imported.weights_sha256(fold) for fold in imported.folds}
    single = single_names(imported.spec, dataset, order.details)
    return read_measured(order.summary, order.control, names, facts, weights, single)


def _card_facts(
    order: Order, dataset: Mapping[str, Any], facts: tuple[FoldFacts, ...], measured: Measured | None
) -> CardFacts:
    import torch

    from mambaseg.version import VERSION

    return CardFacts(
        data=data_line(dataset),
        data_licence=data_licence(dataset),
        folds=facts,
        evaluation=None if measured is None else measured.evaluation,
        control=None if measured is None else measured.control,
        tested=None if measured is None else Part.of(measured.evaluation.cases),
        remarks=() if measured is None else measured.remarks,
        exported_with={"mambaseg": VERSION, "torch": torch.__version__},
        notes=order.details.notes,
        compared="" if order.details.comparison is None else "\n".join(one(read_record(order.details.comparison))),
    )


def _write(
    order: Order,
    results: Path,
    dataset: Mapping[str, Any],
    imported: Model,
    spec: ModelSpec,
    facts: CardFacts,
    plot: bytes | None,
    say: Say,
) -> Exported:
    """Write under a temporary name, load and check that, then give it its name."""
    final = order.destination
    ending = PACKAGE_SUFFIX if final.suffix == PACKAGE_SUFFIX else ""
    temporary = final.with_name(f".{final.name.removesuffix(ending)}.{uuid.uuid4().hex[:8]}.check{ending}")
    states = {fold: imported.state_dict(fold) for fold in imported.folds}
    licence = licence_text(spec.licence, order.details.licence_file)
    try:
        write_package(temporary, spec, states, make_card(spec, facts), licence, half=order.half)
        model = load_model(temporary)
        model.check_loads()
        known = _known_cases(facts.evaluation, facts.folds)
        verified = _verify(order, results, dataset, model, known, say)
        card = make_card(spec, replace(facts, checks=_checks(order, verified, facts.evaluation)))
        picture = _picture(order, results, dataset, model, known, say)
        written = write_package(
            final, spec, states, card, licence, half=order.half, overwrite=order.overwrite, thumbnail=picture, plot=plot
        )
    finally:
        remove_tree(temporary)
    load_model(final).check_loads()
    say(f"Wrote '{final}'; the engine loads it.")
    return Exported(final, written, card, picture is not None, verified)


def _known_cases(evaluation: Evaluation | None, facts: tuple[FoldFacts, ...]) -> tuple[str, ...]:
    """Cases that may be shown: evaluated ones, else validation cases."""
    if evaluation is not None:
        return evaluation.cases
    return next((fold.parts["validation"].names for fold in facts if "validation" in fold.parts), ())


def _raw_folder(order: Order, results: Path) -> Path | None:
    if order.raw is not None:
        return order.raw
    beside = results.parents[1].parent / "nnUNet_raw" / results.parent.name
    return beside if beside.is_dir() else None


def _images(order: Order, results: Path, dataset: Mapping[str, Any], case: str) -> CaseImages:
    raw = _raw_folder(order, results)
    if raw is None:
        raise DataError(f"The raw data set of '{results}' is not beside it. Give its folder with --raw.")
    return find_images(raw, dataset, case)


def _verify(
    order: Order, results: Path, dataset: Mapping[str, Any], model: Model, known: tuple[str, ...], say: Say
) -> tuple[Agreement, ...]:
    if order.verify == 0:
        return ()
    try:
        cases = _to_verify(order, results, dataset, known)
    except DataError as error:
        if order.verify is not None:
            raise
        say(f"Not held against nnU-Net's labels: {error}")
        return ()
    from mambaseg_train.export.verify import verify_package

    found = verify_package(model, results, cases, checkpoint=order.checkpoint, half=order.half)
    for agreement in found:
        say(f"  {agreement.sentence()}")
    return found


def _to_verify(order: Order, results: Path, dataset: Mapping[str, Any], known: tuple[str, ...]) -> list[CaseImages]:
    if not known:
        raise DataError("It is not known which cases could be verified. Give --figures of an evaluation.")
    wanted = first_cases(known, _BY_DEFAULT if order.verify is None else order.verify)
    return [_images(order, results, dataset, case) for case in wanted]


def _checks(order: Order, verified: tuple[Agreement, ...], evaluation: Evaluation | None) -> tuple[str, ...]:
    """What was and was not checked at export, for the card."""
    found = [
        "The package's labels were held against those that nnU-Net's own code gives with the training's checkpoint: "
        + "; ".join(agreement.sentence() for agreement in verified)
        + "."
        if verified
        else "The package's labels were not held against nnU-Net's own."
    ]
    if order.half:
        text = "The weights are stored as float16."
        text += "" if evaluation is None else " The figures were measured before that, with the float32 weights."
        text += " The labels above are those of the float16 weights." if verified else ""
        found.append(text)
    return (*found, *order.details.checked)


def _picture(
    order: Order, results: Path, dataset: Mapping[str, Any], model: Model, known: tuple[str, ...], say: Say
) -> bytes | None:
    """A thumbnail of a case that was not trained on, or None, with the reason said."""
    if not order.picture:
        return None
    licence = data_licence(dataset)
    if not allows_pictures(licence):
        say(f"No picture: the licence of the data ({licence or 'not stated'}) is not known to let it be passed on.")
        return None
    if not known or _raw_folder(order, results) is None:
        say("No picture: no image of a case that was not trained on is at hand.")
        return None
    from mambaseg.api import segment
    from mambaseg.options import Options
    from mambaseg_train.export.thumbnail import thumbnail

    images = _images(order, results, dataset, known[len(known) // 2])
    volumes = images.read()
    source = f"{images.case} of {data_line(dataset)}; {licence}"
    return thumbnail(volumes[0], segment(volumes, model, Options(device="cpu")), model, source)
