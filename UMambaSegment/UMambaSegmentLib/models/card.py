"""What is known of one model, for showing; the engine reads the same file again, strictly, when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["bundled", "installed", "to download", "damaged"]


@dataclass(frozen=True)
class Channel:
    """One input channel: its role (``T1``) and modality (``MR``)."""

    role: str
    modality: str


@dataclass(frozen=True)
class Structure:
    """One structure: name, value in the labelmap (0 if not known yet), colour (0 to 255) and what its codes mean."""

    name: str
    value: int = 0
    color: tuple[int, int, int] | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Figure:
    """One measured figure, with its spread and the control's figure beside it where they were measured."""

    metric: str
    structure: str
    value: float
    spread: float | None = None
    control: float | None = None
    cases: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class ModelCard:
    """One model of the list.

    Attributes
    ----------
    id, version, title, text
        As the model or the catalogue says; ``id`` is what the engine is asked for.
    state
        ``bundled`` (part of the extension), ``installed``, ``to download``, or ``damaged`` (listed, but not runnable).
    problem
        What is wrong with a damaged one, in a sentence.
    family, variant
        The list entry that several architectures share, and which of them this is; may be empty.
    network, spatial_dims
        Architecture's name, and 2 or 3; 0 where not known before the download.
    channels
        Input channels in their order; for one to download its modality alone, with an empty role.
    structures
        In the model's order.
    spacing, patch
        Voxel size (mm) and patch size (voxels) the network works with, its own axis order.
    folds
        Names of the folds whose weights it has.
    input_mode
        ``tiles`` or ``resize`` (whole slices).
    trained_on, tested_on, figures
        As the model says.
    licence, licence_url, licence_path, citation
        Licence's name; where its text is found on the net, or on this computer.
    bytes
        Size on disk, or of the download.
    update
        Version to download where the catalogue has another one than is installed; empty otherwise.
    superseded_by
        Id of the model that took its place; empty otherwise.
    folder, card_path, plot_path
        Where it lies, its Markdown card, and the plot of its figures (PNG); None if it is not here (or a single file).
    mirror_axes, paired
        Axes that may be mirrored; whether it tells left from right.
    keep_largest
        Names of the structures of which it advises to keep the largest component only.
    """

    id: str
    version: str = ""
    title: str = ""
    text: str = ""
    state: State = "installed"
    problem: str = ""
    family: str = ""
    variant: str = ""
    network: str = ""
    spatial_dims: int = 0
    channels: tuple[Channel, ...] = ()
    structures: tuple[Structure, ...] = ()
    spacing: tuple[float, ...] = ()
    patch: tuple[int, ...] = ()
    folds: tuple[str, ...] = ()
    input_mode: str = ""
    trained_on: str = ""
    tested_on: str = ""
    figures: tuple[Figure, ...] = ()
    licence: str = ""
    licence_url: str = ""
    licence_path: Path | None = None
    citation: str = ""
    bytes: int = 0
    update: str = ""
    superseded_by: str = ""
    folder: Path | None = None
    card_path: Path | None = None
    plot_path: Path | None = None
    mirror_axes: tuple[int, ...] = ()
    paired: bool = False
    keep_largest: tuple[str, ...] = ()

    @property
    def runnable(self) -> bool:
        """Whether it is here and whole as far as can be told without reading the weights."""
        return self.state in {"bundled", "installed"}

    @property
    def name(self) -> str:
        """Title, or the id where there is none."""
        return self.title or self.id

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the channels, each once."""
        return tuple(dict.fromkeys(channel.modality for channel in self.channels if channel.modality))
