"""What a model package says of itself: the values behind ``model.json``.

All per-axis values (patch, spacing, mirror axes) are in the network's own axis order, that is after ``axes`` was
applied to the stored ``(k, j, i)`` array, as nnU-Net's plans have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1
AS_STORED = "as_stored"

NormalisationScheme = Literal["ct", "zscore", "rescale_0_1", "rgb_0_1", "window_0_1", "min_max", "none"]


@dataclass(frozen=True)
class Code:
    """One coded concept: DICOM coding scheme (``SCT``), value and meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Terminology:
    """What a structure is, in the codes that 3D Slicer's terminologies and DICOM SEG use."""

    category: Code
    type: Code
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


@dataclass(frozen=True)
class Label:
    """One structure the model finds: its name, value in the labelmap, colour (0 to 255) and codes."""

    name: str
    value: int
    color: tuple[int, int, int]
    terminology: Terminology | None = None


@dataclass(frozen=True)
class Regions:
    """Region-based labels: each output channel is a union of labels, painted in ``class_order`` one over the other.

    ``members[c]`` are the labels that channel c covers (for information); ``class_order[c]`` is the value it paints.
    """

    members: tuple[tuple[int, ...], ...]
    class_order: tuple[int, ...]


@dataclass(frozen=True)
class Channel:
    """One input channel: its role (``CT``, ``T1``, ``red`` ...) and modality (``CT``, ``MR``, ``RGB`` ...)."""

    role: str
    modality: str


@dataclass(frozen=True)
class Normalisation:
    """How one channel's intensities are scaled.

    ``ct``: clip to [lower, upper], subtract mean, divide by std. ``zscore``: by the image's own mean and standard
    deviation, inside the non-zero mask if ``use_mask``. ``rescale_0_1``: by the image's own range. ``rgb_0_1``:
    divide by 255. ``window_0_1``: clip to [lower, upper], map to [0, 1]. ``min_max``: by the range of all channels
    together to [0, upper]. ``none``: as it is.
    """

    scheme: NormalisationScheme
    mean: float | None = None
    std: float | None = None
    lower: float | None = None
    upper: float | None = None
    use_mask: bool = False


@dataclass(frozen=True)
class Resampling:
    """How images go to the network's spacing and logits come back (nnU-Net's ``resample_data_or_seg_to_shape``).

    ``separate_axis``: ``auto`` treats an axis apart where spacings differ by more than a factor of 3; ``always`` and
    ``never`` are nnU-Net's ``force_separate_z``. ``enabled`` False keeps the image's own grid.
    """

    enabled: bool = True
    image_order: Literal[0, 1, 3] = 3
    image_order_z: Literal[0, 1, 3] = 0
    logits_order: Literal[0, 1, 3] = 1
    logits_order_z: Literal[0, 1, 3] = 0
    separate_axis: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class Resize:
    """Input mode ``resize``: whole slices are resized to the patch (networks trained on resized pictures).

    ``order``: spline order of the resize (3, 1 or 0). ``align_corners``: True maps corner voxel centres onto each other
    (``scipy.ndimage.zoom``), False maps the outer edges (torchvision, ``grid_mode``). ``back``: ``logits`` brings
    logits back linearly and then decides, ``labels`` decides first and brings labels back by nearest neighbour.
    """

    order: Literal[0, 1, 3] = 1
    align_corners: bool = False
    back: Literal["logits", "labels"] = "logits"


@dataclass(frozen=True)
class NetworkSpec:
    """Name and arguments for ``mambaseg.networks.build``."""

    name: str
    spatial_dims: int
    in_channels: int
    num_classes: int
    architecture: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightsFile:
    """One fold's weights: file name inside the package, SHA-256 (lower-case hex) and size in bytes."""

    fold: str
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Figure:
    """One measured figure, such as Dice of a structure on a test set, with the control's figure beside it."""

    metric: str
    structure: str
    value: float
    spread: float | None = None
    control: float | None = None
    cases: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """Everything ``model.json`` says.

    ``family`` is the list entry that several architectures of the same task share (``Head and neck, CT``), ``variant``
    says which of them this is (``U-Mamba Bot``); both are for people and may be empty. ``keep_largest`` names the
    structures that are one piece in everybody, of which a run keeps the largest connected component only unless it is
    told otherwise.
    """

    id: str
    version: str
    title: str
    network: NetworkSpec
    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: tuple[Channel, ...]
    normalisation: tuple[Normalisation, ...]
    labels: tuple[Label, ...]
    text: str = ""
    family: str = ""
    variant: str = ""
    orientation: str = AS_STORED
    axes: tuple[int, int, int] = (0, 1, 2)
    resampling: Resampling = field(default_factory=Resampling)
    input_mode: Literal["tiles", "resize"] = "tiles"
    resize: Resize = field(default_factory=Resize)
    mirror_axes: tuple[int, ...] = ()
    regions: Regions | None = None
    paired_labels: tuple[tuple[int, int], ...] = ()
    keep_largest: tuple[str, ...] = ()
    trained_on: str = ""
    tested_on: str = ""
    figures: tuple[Figure, ...] = ()
    licence: str = ""
    citation: str = ""
    weights: tuple[WeightsFile, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Write an orientation's letters in capitals, so that comparisons of letters hold."""
        if self.orientation != AS_STORED:
            object.__setattr__(self, "orientation", self.orientation.upper())

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds whose weights are here."""
        return tuple(entry.fold for entry in self.weights)
