"""What a recipe says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mambaseg_train.converters.split import SplitRule
from mambaseg_train.converters.write import Facts, Order

Dimension = Literal["2d", "3d"]
Configuration = Literal["2d", "3d_fullres"]


@dataclass(frozen=True)
class Paper:
    """Where an experiment is from: title, arXiv number and the published code."""

    title: str
    arxiv: str
    code: str


@dataclass(frozen=True)
class DataSource:
    """Where the images are from.

    Attributes
    ----------
    name
        Name for people.
    home
        The publisher's page.
    licence, citation
        As the publisher states them; a licence that is not known says so.
    number
        nnU-Net data set number.
    folder
        Name behind the number: ``Dataset<number>_<folder>``.
    """

    name: str
    home: str
    licence: str
    citation: str
    number: int
    folder: str


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    Attributes
    ----------
    id, title, text
        Name of the file, and what it is.
    paper
        None for an experiment of our own.
    data
        Where the images are from.
    converter, parameters
        Which layout they are in.
    dimension, configuration
        2D or 3D, and nnU-Net's configuration for it.
    networks
        Networks of the experiment; the control comes besides.
    trainers
        nnU-Net trainer of each network and of the control.
    training
        Paper's settings in the names of `mambaseg_train.trainer.settings.Settings`, for all networks; a value that
        no source gives is None.
    published
        Other settings as the sources state them (patch or picture size, augmentation, start weights); None if unknown.
    not_known
        For each setting that is None: why, and what is used instead.
    metrics
        Settings for `mambaseg_train.evaluation.settings.MetricSettings.from_json`.
    split
        Who trains, validates and tests.
    sources
        Where the settings were read.
    """

    id: str
    title: str
    text: str
    paper: Paper | None
    data: DataSource
    converter: str
    parameters: Mapping[str, Any]
    dimension: Dimension
    configuration: Configuration
    networks: tuple[str, ...]
    trainers: Mapping[str, str]
    control: str
    training: Mapping[str, Any]
    published: Mapping[str, Any]
    not_known: Mapping[str, str]
    metrics: Mapping[str, Any]
    split: SplitRule
    sources: tuple[str, ...] = field(default=())

    @property
    def known_training(self) -> dict[str, Any]:
        """Training settings that a source gives; the trainer's own stand for the others."""
        return {name: value for name, value in self.training.items() if value is not None}

    def order(
        self,
        source: Path,
        raw: Path,
        *,
        number: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        limit: int = 0,
    ) -> Order:
        """What to convert for this recipe; ``parameters`` replace the recipe's by name."""
        facts = Facts(self.id, self.title, self.data.home, self.data.licence, self.data.citation)
        return Order(
            self.converter,
            source,
            raw,
            self.data.number if number is None else number,
            self.data.folder,
            {**self.parameters, **(parameters or {})},
            self.split,
            facts,
            limit,
        )
