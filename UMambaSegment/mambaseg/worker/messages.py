"""What the two sides say to each other: one JSON object a line. Needs the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeAlias

from mambaseg.errors import MambasegError

PROTOCOL_VERSION = 1
"""Version of this protocol: both sides must have the same."""

STAGES = ("load", "prepare", "network", "export", "write", "download")
Inputs: TypeAlias = str | tuple[str | tuple[str, ...], ...]


class ProtocolError(MambasegError):
    """A line is no message of this protocol.

    Parameters
    ----------
    message
        The sentence.
    id
        Of the request that is wrong, where it can be told.
    """

    def __init__(self, message: str, id: int | None = None) -> None:  # noqa: A002  (the message's own word)
        super().__init__(message)
        self.id = id


@dataclass(frozen=True)
class VolumeRef:
    """An image as it is passed on: where its voxels lie, and its grid; see ``mambaseg.volume`` and ``geometry``.

    Attributes
    ----------
    voxels
        Path of the ``.npy`` file; may be empty in a forecast, which can do with ``shape``.
    shape
        ``(slices, rows, columns)``; only looked at where there are no voxels, and then all count as not zero.
    components
        1, or 3 for colour; goes with ``shape``.
    spacing, origin, direction
        In mm, LPS, as ``Geometry`` has them.
    is_2d, source
        As ``Volume`` has them.
    """

    voxels: str = ""
    shape: tuple[int, ...] = ()
    components: int = 1
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    is_2d: bool = False
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they stand in a request."""
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """What is asked for; ``id`` is the asker's own number for it."""

    name: ClassVar[str] = ""
    abandonable: ClassVar[bool] = True
    """Whether a cancelled one may be answered while its work is still winding down: it changes nothing on disk."""

    id: int


@dataclass(frozen=True)
class SegmentRequest(Request):
    """Segment one image; the outputs go to ``folder``, which must be there. Options as ``Options.to_json`` has them."""

    name: ClassVar[str] = "segment"
    volumes: tuple[VolumeRef, ...]
    model: str
    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ForecastRequest(Request):
    """Say what a run would need."""

    name: ClassVar[str] = "forecast"
    volumes: tuple[VolumeRef, ...]
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DevicesRequest(Request):
    """List the devices, fastest first."""

    name: ClassVar[str] = "devices"


@dataclass(frozen=True)
class ImportRequest(Request):
    """Install a package, a results folder or a described checkpoint."""

    name: ClassVar[str] = "import"
    abandonable: ClassVar[bool] = False
    path: str
    replace: bool = False
    orientation: str | None = None


@dataclass(frozen=True)
class DownloadRequest(Request):
    """Fetch a model of the catalogue and install it."""

    name: ClassVar[str] = "download"
    abandonable: ClassVar[bool] = False
    model: str
    replace: bool = False


@dataclass(frozen=True)
class RemoveRequest(Request):
    """Remove an installed model."""

    name: ClassVar[str] = "remove"
    abandonable: ClassVar[bool] = False
    model: str


@dataclass(frozen=True)
class VerifyRequest(Request):
    """Hold a model's weights to their SHA-256."""

    name: ClassVar[str] = "verify"
    model: str


@dataclass(frozen=True)
class ExportRequest(Request):
    """Write a model as one file (``*.mambaseg``) or a folder."""

    name: ClassVar[str] = "export"
    abandonable: ClassVar[bool] = False
    model: str
    path: str
    replace: bool = False


@dataclass(frozen=True)
class BatchRequest(Request):
    """Segment a folder, or a list of paths (or of lists of paths, one a channel)."""

    name: ClassVar[str] = "batch"
    inputs: Inputs
    output: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = True
    format: str = ".seg.nrrd"


@dataclass(frozen=True)
class DoctorRequest(Request):
    """Look at everything and give one text."""

    name: ClassVar[str] = "doctor"


@dataclass(frozen=True)
class SmokeRequest(Request):
    """Import everything and segment a tiny volume from beginning to end."""

    name: ClassVar[str] = "smoke"


@dataclass(frozen=True)
class CancelRequest:
    """Stop the request ``target``, which answers itself; this one has no answer of its own."""

    name: ClassVar[str] = "cancel"
    target: int


@dataclass(frozen=True)
class QuitRequest:
    """Cancel everything and end the process."""

    name: ClassVar[str] = "quit"


@dataclass(frozen=True)
class Ready:
    """Said at once after the start, before anything heavy is loaded."""

    name: ClassVar[str] = "ready"
    protocol: int
    engine: str
    python: str
    executable: str
    pid: int


@dataclass(frozen=True)
class Heartbeat:
    """Said every second; ``busy`` is the request being worked on, or None."""

    name: ClassVar[str] = "heartbeat"
    busy: int | None = None


@dataclass(frozen=True)
class ProgressEvent:
    """Where a request is: tiles in ``network``, slabs in ``export``, bytes in ``download``.

    ``seconds`` is the time since the stage began, ``seconds_left`` an estimate for it. In a batch, ``case``, ``index``
    (from 0) and ``count`` say which case, and ``outcome`` at its end what became of it.
    """

    name: ClassVar[str] = "progress"
    id: int
    stage: str
    done: int
    total: int
    seconds: float = 0.0
    seconds_left: float | None = None
    case: str | None = None
    index: int | None = None
    count: int | None = None
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ResultEvent:
    """The answer; ``values`` stand in the line beside ``event`` and ``id``."""

    name: ClassVar[str] = "result"
    id: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class ErrorEvent:
    """It failed: the exception's class name, a sentence, and for a fault of the engine its traceback.

    ``id`` is None if the line was none that can be answered by its number.
    """

    name: ClassVar[str] = "error"
    id: int | None
    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class CancelledEvent:
    """It was stopped as asked."""

    name: ClassVar[str] = "cancelled"
    id: int


@dataclass(frozen=True)
class Bye:
    """The process ends: ``idle``, ``quit``, ``input closed`` or ``output closed``."""

    name: ClassVar[str] = "bye"
    reason: str


Event: TypeAlias = Ready | Heartbeat | ProgressEvent | ResultEvent | ErrorEvent | CancelledEvent | Bye
AnyRequest: TypeAlias = Request | CancelRequest | QuitRequest

REQUESTS: Mapping[str, type[AnyRequest]] = {
    kind.name: kind
    for kind in (
        SegmentRequest, ForecastRequest, DevicesRequest, ImportRequest, DownloadRequest, RemoveRequest, VerifyRequest,
        ExportRequest, BatchRequest, DoctorRequest, SmokeRequest, CancelRequest, QuitRequest,
    )
}  # fmt: skip
EVENTS: Mapping[str, type[Event]] = {
    kind.name: kind for kind in (Ready, Heartbeat, ProgressEvent, ResultEvent, ErrorEvent, CancelledEvent, Bye)
}
