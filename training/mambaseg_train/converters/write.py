"""From a published folder to nnU-Net's raw format: all is looked for first, then written under a temporary name."""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mambaseg.errors import OutputError
from mambaseg.models.schema import label_to_json
from mambaseg.models.structures import make_labels
from mambaseg_train.converters.layout import Case, Layout
from mambaseg_train.converters.registry import full_options, get_converter
from mambaseg_train.converters.split import Split, SplitRule, hash_order, make_split
from mambaseg_train.errors import DataError, RecipeError, RunError

_FORBIDDEN = '<>:"/\\|?*'
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Facts:
    """What the converted data set says of itself besides images and labels."""

    recipe: str = ""
    title: str = ""
    home: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Order:
    """What is to be converted.

    Attributes
    ----------
    converter, parameters
        Which layout, and the choices that it leaves.
    source
        The published folder.
    raw
        nnU-Net's folder of raw data sets; ``Dataset<number>_<name>`` is made in it.
    split
        Who trains, validates and tests.
    limit
        Convert only so many groups (patients) of the training part, chosen by the split's hash; 0: all.
    """

    converter: str
    source: Path
    raw: Path
    number: int
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    split: SplitRule = field(default_factory=SplitRule)
    facts: Facts = field(default_factory=Facts)
    limit: int = 0

    @property
    def folder(self) -> Path:
        """The data set to be."""
        return self.raw / f"Dataset{self.number:03d}_{self.name}"


def convert(order: Order, progress: Progress | None = None) -> Path:
    """Convert a published folder.

    Returns
    -------
    Path
        The data set's folder, whole.

    Raises
    ------
    DataError
        If a file is missing, misnamed or cannot be used; it is named.
    RecipeError
        If converter, parameters or split make no sense.
    RunError
        If the data set is there already or cannot be written; nothing half-written is left.
    """
    _check_name(order)
    converter = get_converter(order.converter)
    options = full_options(converter, order.parameters)
    source = Path(order.source)
    if not source.is_dir():
        raise DataError(f"There is no folder '{source}'. Give the top folder of the unpacked data set.")
    layout = _limited(converter.read(source, options), order)
    _check_cases([*layout.training, *layout.test])
    split = make_split(
        order.split,
        {case.name: case.group for case in layout.training},
        [case.name for case in layout.test],
    )
    temporary = order.raw / f".{order.folder.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        temporary.mkdir(parents=True)
        _write(layout, split, temporary, progress)
        description = describe(layout, split, order, options)
        (temporary / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
        temporary.rename(order.folder)
    except (OSError, OutputError) as error:
        raise RunError(
            f"The data set '{order.folder}' could not be written ({error}). Check the free space and the folder's "
            "rights; nothing half-written was left."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return order.folder


def _check_name(order: Order) -> None:
    if not 1 <= order.number <= 999:
        raise RecipeError(f"The data set number is {order.number}, but nnU-Net wants 1 to 999.")
    if not order.name or any(letter in _FORBIDDEN or letter.isspace() for letter in order.name):
        raise RecipeError(f"'{order.name}' is no good name for a data set: use letters, digits and '_' only.")
    if order.folder.exists():
        raise RunError(f"'{order.folder}' is there already. Remove it, or choose another number with --number.")
    taken = [entry.name for entry in order.raw.glob(f"Dataset{order.number:03d}_*")] if order.raw.is_dir() else []
    if taken:
        raise RunError(
            f"The number {order.number} is taken by '{taken[0]}' in '{order.raw}'. Choose another with --number."
        )


def _limited(layout: Layout, order: Order) -> Layout:
    if order.limit <= 0:
        return layout
    groups = hash_order((case.group for case in layout.training), order.split.seed)[: order.limit]
    named = {*order.split.test_groups, *order.split.validation_groups}
    training = tuple(case for case in layout.training if case.group in {*groups, *named})
    return replace(layout, training=training, test=layout.test[: order.limit])


def _check_cases(cases: Iterable[Case]) -> None:
    """Names must be told apart on every computer, and stand in file names."""
    names = Counter(case.name.lower() for case in cases)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(f"Two cases would be named '{twice[0]}' (capitals do not count). Rename one of them.")
    odd = [name for name in names if any(letter in _FORBIDDEN for letter in name)]
    if odd:
        raise DataError(f"The case '{odd[0]}' has a letter in its name that file systems refuse. Rename its files.")


def _write(layout: Layout, split: Split, folder: Path, progress: Progress | None) -> None:
    testing = set(split.test) | {case.name for case in layout.test}
    cases = [*layout.training, *layout.test]
    for done, case in enumerate(cases):
        part = "Ts" if case.name in testing else "Tr"
        if progress is not None:
            progress(done, len(cases), case.name)
        try:
            _write_case(case, folder, part, layout.ending)
        except DataError as error:
            raise DataError(f"Case '{case.name}' cannot be converted. {error}") from error
    if progress is not None:
        progress(len(cases), len(cases), "")


def _write_case(case: Case, folder: Path, part: str, ending: str) -> None:
    for channel, piece in enumerate(case.images):
        piece.write(_place(folder, f"images{part}", f"{case.name}_{channel:04d}{ending}"))
    if case.label is not None:
        case.label.write(_place(folder, f"labels{part}", f"{case.name}{ending}"))
    if case.instances is not None:
        case.instances.write(_place(folder, f"instances{part}", f"{case.name}{ending}"))


def _place(folder: Path, part: str, name: str) -> Path:
    (folder / part).mkdir(exist_ok=True)
    return folder / part / name


def describe(layout: Layout, split: Split, order: Order, options: Mapping[str, Any]) -> dict[str, Any]:
    """``dataset.json``: what nnU-Net wants, and our own part under ``mambaseg``."""
    names = {name: value for name, value in layout.labels.items() if name != "background"}
    cases = [*layout.training, *layout.test]
    own: dict[str, Any] = {
        "recipe": order.facts.recipe,
        "converter": {"name": order.converter, "parameters": dict(options)},
        "modality": layout.modality,
        "annotated": {case.name: list(case.annotated) for case in cases if case.annotated is not None},
        "paired_labels": [list(pair) for pair in layout.paired_labels],
        "groups": {case.name: case.group for case in cases},
        "split": {"rule": _plain(order.split), **split.to_json()},
        "structures": [label_to_json(label) for label in make_labels(names)],
        "licence": order.facts.licence,
        "citation": order.facts.citation,
        "home": order.facts.home,
        "left_out": list(layout.left_out),
    }
    if any(case.instances is not None for case in cases):
        own["instances"] = {"training": "instancesTr", "test": "instancesTs"}
    plain: dict[str, Any] = {
        "name": order.folder.name,
        "description": order.facts.title,
        "channel_names": {str(number): name for number, name in enumerate(layout.channels)},
        "labels": dict(layout.labels),
        "numTraining": len(split.training),
        "file_ending": layout.ending,
        "licence": order.facts.licence,
        "reference": order.facts.home,
        "mambaseg": own,
    }
    if layout.ending == ".png":
        plain["overwrite_image_reader_writer"] = "NaturalImage2DIO"
    else:
        plain["overwrite_image_reader_writer"] = "SimpleITKIO"
    return plain


def _plain(rule: SplitRule) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name in rule.__dataclass_fields__
        if (value := getattr(rule, name)) not in ((), "")
    }
