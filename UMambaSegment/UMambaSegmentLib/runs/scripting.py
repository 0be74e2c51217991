"""From Slicer's naming in scripts to the engine's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mambaseg.options import Options
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.listing import list_models
from UMambaSegmentLib.runs.frames import SequenceRun
from UMambaSegmentLib.runs.run import RunRequest
from UMambaSegmentLib.runs.session import Session
from UMambaSegmentLib.scene.provenance import Provenance, read_provenance
from UMambaSegmentLib.scene.segmentations import SameNamed, same_named_segments

_ENGINE = ("device", "precision", "folds", "tileOverlap", "mirror", "structures", "keepLargest", "probabilities")
_SCENE = ("region", "outputSegmentation", "sameNamed", "name")


def model_ids() -> list[str]:
    """Ids of the models that can run now."""
    return [card.id for card in list_models() if card.runnable]


def engine_options(device: str, given: Mapping[str, Any]) -> Options:
    """The engine's options from a script's.

    Parameters
    ----------
    device
        Where nothing else is given: the computer's setting.
    given
        ``device``, ``precision``, ``folds``, ``tileOverlap``, ``mirror``, ``structures``, ``keepLargest`` (True for
        all, False for none, or names; None as the model advises), ``probabilities``.

    Raises
    ------
    TypeError
        If there is no such option.
    OptionError
        If a value makes no sense.
    """
    _refuse_unknown(given, _ENGINE)
    largest = given.get("keepLargest")
    if isinstance(largest, bool):
        largest = ("all",) if largest else ()
    return Options(
        device=given.get("device") or device,
        precision=given.get("precision", "auto"),
        folds=_names(given.get("folds")),
        tile_step=round(1.0 - float(given.get("tileOverlap", 0.5)), 4),
        mirror=bool(given.get("mirror", False)),
        structures=_names(given.get("structures")),
        keep_largest=_names(largest),
        probabilities=bool(given.get("probabilities", False)),
    )


def request_of(volume_node: Any, model: str, device: str, given: Mapping[str, Any]) -> RunRequest:
    """A run from what a script gives; see ``UMambaSegmentLogic.segment``.

    Raises
    ------
    TypeError
        If there is no such option.
    OptionError, SceneError
        If a value makes no sense, or a node is not what it should be.
    """
    _refuse_unknown(given, (*_ENGINE, *_SCENE))
    nodes = tuple(volume_node) if isinstance(volume_node, (list, tuple)) else (volume_node,)
    for node in nodes:
        _need_class(node, "vtkMRMLVolumeNode", _("volume"))
    region, output = given.get("region"), given.get("outputSegmentation")
    if region is not None:
        _need_class(region, "vtkMRMLMarkupsROINode", _("region"))
    if output is not None:
        _need_class(output, "vtkMRMLSegmentationNode", _("output segmentation"))
    same_named = given.get("sameNamed", "keep")
    if same_named not in ("keep", "replace"):
        raise SceneError(_("'sameNamed' is 'keep' or 'replace', not {value!r}.").format(value=same_named))
    options = engine_options(device, {name: value for name, value in given.items() if name in _ENGINE})
    return RunRequest(nodes, str(model), options, output, region, same_named, str(given.get("name", "")))


def batch_parameters(inputs: Any, output: Any, model: str, options: Options, *, resume: bool) -> dict[str, Any]:
    """Fields of the engine's ``batch`` request."""
    return {
        "inputs": _inputs(inputs),
        "output": str(Path(str(output)).expanduser()),
        "model": str(model),
        "options": asdict(options),
        "resume": bool(resume),
    }


def ask_same_named(
    output: Any, model: str, ask: Callable[[str], bool] | None, structures: Sequence[str] | None = None
) -> SameNamed:
    """Whether segments that this model made before are replaced: asked only where there are some.

    Parameters
    ----------
    output
        vtkMRMLSegmentationNode, or None for a new one.
    model
        Id of the model.
    ask
        Shows a text and gives the answer.
    structures
        What will be made; None for all that the model finds.
    """
    if output is None or ask is None:
        return "keep"
    names = _segment_names(output) if structures is None else structures
    there = same_named_segments(output, names, model)
    if not there:
        return "keep"
    text = _(
        "'{segmentation}' has {count} segments that this model made before ({names}). Replace them? With No the new "
        "ones are added beside them, as 'name (2)'. Other segments stay as they are."
    ).format(segmentation=output.GetName(), count=len(there), names=", ".join(there[:6]))
    return "replace" if ask(text) else "keep"


def need_provenance(segmentation_node: Any) -> Provenance:
    """What made a segmentation.

    Raises
    ------
    SceneError
        If no run made it.
    """
    made = None if segmentation_node is None else read_provenance(segmentation_node)
    if made is None:
        raise SceneError(_("This segmentation does not say what made it, so it cannot be reproduced."))
    return made


def segment_sequence(
    session: Session,
    temporary: str,
    node: Any,
    request: Callable[[Any], RunRequest],
    on_frame: Callable[[int, int], None] | None,
) -> Any:
    """Segment every frame of a sequence; see ``UMambaSegmentLogic.segmentSequence``.

    Raises
    ------
    SceneError
        If there is no sequence, or a region or an output was given.
    """
    wanted = request(_frames_of(node))
    if wanted.region_node is not None or wanted.output_node is not None:
        raise SceneError(
            _("A sequence is segmented as a whole into a new one: leave out 'region' and 'outputSegmentation'.")
        )
    return SequenceRun(session, wanted, temporary, on_frame).run()


def _frames_of(node: Any) -> Any:
    """The volume that a browser shows, or the volume itself."""
    if node is not None and node.IsA("vtkMRMLSequenceBrowserNode"):
        master = node.GetMasterSequenceNode()
        proxy = None if master is None else node.GetProxyNode(master)
        if proxy is None or not proxy.IsA("vtkMRMLVolumeNode"):
            raise SceneError(_("'{name}' shows no volume, so there is nothing to segment.").format(name=node.GetName()))
        return proxy
    return node


def _segment_names(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]


def _need_class(node: Any, wanted: str, what: str) -> None:
    if node is None or not hasattr(node, "IsA") or not node.IsA(wanted):
        shown = "None" if node is None else type(node).__name__
        raise SceneError(_("The {what} must be a {wanted}, not {shown}.").format(what=what, wanted=wanted, shown=shown))


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(
            _("There is no option '{name}'. There are: {known}.").format(name=unknown[0], known=", ".join(known))
        )


def _names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(str(one) for one in value)


def _inputs(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [[str(one) for one in item] if isinstance(item, (list, tuple)) else str(item) for item in value]
    return str(Path(str(value)).expanduser())
