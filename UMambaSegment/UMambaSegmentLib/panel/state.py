"""What the Segment button says: one pure function from what is chosen to whether it can be clicked, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from UMambaSegmentLib.i18n import _

MOST_INPUTS = 4
Phase = Literal["idle", "queued", "running", "cancelling", "installing"]


@dataclass(frozen=True)
class ChannelChoice:
    """One input that the model wants: its role, and of the chosen volume its id, name and colour components."""

    role: str
    node_id: str = ""
    name: str = ""
    components: int = 1
    has_voxels: bool = True


@dataclass(frozen=True)
class PanelState:
    """Everything that decides what the Segment button does.

    Attributes
    ----------
    phase
        What is going on.
    channels
        One entry for each selector that is shown, in the model's order.
    model
        Title of the chosen model, empty if none is chosen.
    absent_model
        Id of a model that the case names and that is not on this computer.
    model_state
        ``bundled``, ``installed``, ``to download`` or ``damaged``.
    model_problem
        What is wrong with a damaged one.
    wants_colour
        Whether the model takes one colour image.
    structures, chosen_structures
        How many structures the model finds, and how many are ticked.
    unknown_folds
        Folds that were asked for and that the model has not.
    inputs
        How many images the model wants; the panel has selectors for four.
    missing
        Names of packages to install at the first run.
    """

    phase: Phase = "idle"
    channels: tuple[ChannelChoice, ...] = (ChannelChoice(""),)
    model: str = ""
    absent_model: str = ""
    model_state: str = "installed"
    model_problem: str = ""
    wants_colour: bool = False
    structures: int = 1
    chosen_structures: int = 1
    unknown_folds: tuple[str, ...] = ()
    inputs: int = 1
    missing: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ButtonView:
    """How a button looks."""

    enabled: bool
    text: str
    tooltip: str


def segment_button(state: PanelState) -> ButtonView:
    """What the Segment button says; its tooltip tells exactly why it cannot be clicked."""
    busy = _while_busy(state.phase)
    if busy is not None:
        return busy
    reasons = reasons_against(state)
    if reasons:
        return ButtonView(False, _("Segment"), "\n".join(reasons))
    if state.missing:
        names = ", ".join(state.missing)
        text = _("Asks, installs what is missing once ({names}), then segments.").format(names=names)
        return ButtonView(True, _("Segment"), text)
    text = _("Segment '{volume}' with '{model}'.").format(volume=state.channels[0].name, model=state.model)
    return ButtonView(True, _("Segment"), text)


def _while_busy(phase: Phase) -> ButtonView | None:
    texts = {
        "installing": (_("Installing..."), _("Packages are being installed; this takes a few minutes once.")),
        "cancelling": (_("Cancelling..."), _("The run is being stopped; nothing will be changed.")),
        "queued": (_("Cancel"), _("Another run is under way; this one waits. Click to take it back.")),
        "running": (_("Cancel"), _("Stop the run. The scene stays as it is.")),
    }
    if phase not in texts:
        return None
    text, tooltip = texts[phase]
    return ButtonView(phase in {"queued", "running"}, text, tooltip)


def reasons_against(state: PanelState) -> list[str]:
    """Every reason why no run can start, each a sentence."""
    reasons = _against_model(state)
    reasons.extend(_against_images(state))
    if state.model and state.structures and not state.chosen_structures:
        reasons.append(_("No structure is ticked in Advanced: tick at least one."))
    if state.unknown_folds:
        reasons.append(
            _("The model has no fold {names}: correct the folds, or empty the field.").format(
                names=", ".join(state.unknown_folds)
            )
        )
    return reasons


def _against_model(state: PanelState) -> list[str]:
    if state.absent_model:
        return [
            _(
                "The model '{id}', which this scene was made with, is not on this computer: import it, or choose one."
            ).format(id=state.absent_model)
        ]
    if not state.model:
        return [_("No model is chosen: choose one in the list.")]
    if state.model_state == "to download":
        return [_("'{model}' is not on this computer yet: click Download.").format(model=state.model)]
    if state.model_state == "damaged":
        return [
            _("'{model}' is damaged: {problem} Remove it and get it again.").format(
                model=state.model, problem=state.model_problem
            )
        ]
    return []


def _against_images(state: PanelState) -> list[str]:
    reasons: list[str] = []
    if state.inputs > MOST_INPUTS:
        reasons.append(
            _(
                "This model wants {count} images, and the panel has room for {most}: segment from a script instead."
            ).format(count=state.inputs, most=MOST_INPUTS)
        )
    several = len(state.channels) > 1
    for channel in state.channels:
        role = _(" for {role}").format(role=channel.role) if several and channel.role else ""
        if not channel.node_id:
            reasons.append(_("No volume is chosen{role}: load an image and choose it.").format(role=role))
        elif not channel.has_voxels:
            reasons.append(_("'{name}' holds no image: load it again.").format(name=channel.name))
        elif state.wants_colour and channel.components not in (3, 4):
            reasons.append(
                _("This model wants a colour image, and '{name}' is not one: choose another.").format(name=channel.name)
            )
        elif not state.wants_colour and channel.components != 1:
            reasons.append(
                _(
                    "'{name}' is a colour image, and this model wants grey values: choose another volume or model."
                ).format(name=channel.name)
            )
    seen: dict[str, str] = {}
    for channel in state.channels:
        if channel.node_id and channel.node_id in seen:
            reasons.append(
                _("'{name}' is chosen for both {first} and {second}: choose a volume each.").format(
                    name=channel.name, first=seen[channel.node_id], second=channel.role
                )
            )
        elif channel.node_id:
            seen[channel.node_id] = channel.role
    return reasons
