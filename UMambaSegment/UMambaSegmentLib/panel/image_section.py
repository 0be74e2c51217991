"""Choosing the images: one selector a channel, and the region."""

from __future__ import annotations

from typing import Any

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.state import MOST_INPUTS, ChannelChoice

_REGION_RESTS_MS = 300
PARAMETERS = ("inputVolume", "channel2Volume", "channel3Volume", "channel4Volume")


class ImageSection:
    """Shows as many selectors as the chosen model has inputs, each named by its role."""

    def __init__(self, context: PanelContext) -> None:
        import qt

        self._context = context
        ui = context.ui
        self._rows = (
            (ui.inputLabel, ui.inputSelector),
            (ui.channel2Label, ui.channel2Selector),
            (ui.channel3Label, ui.channel3Selector),
            (ui.channel4Label, ui.channel4Selector),
        )
        self._region: Any = None
        self._region_tag: int | None = None
        # A region is dragged: what depends on it is worked out once it rests.
        self._settled = qt.QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(_REGION_RESTS_MS)
        self._settled.connect("timeout()", context.changed)
        ui.regionSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._on_new_region)
        self.refresh()

    def roles(self) -> tuple[str, ...]:
        """The inputs that the chosen model wants; a colour image is one."""
        card = self._context.card
        if card is None:
            return ("",)
        if wants_colour(card):
            return ("",)
        return tuple(channel.role for channel in card.channels[:MOST_INPUTS]) or ("",)

    def refresh(self) -> None:
        """Show the rows that the chosen model needs."""
        roles = self.roles()
        for index, (label, selector) in enumerate(self._rows):
            shown = index < len(roles)
            label.setVisible(shown)
            selector.setVisible(shown)
            if shown:
                several = len(roles) > 1 and roles[index]
                label.text = _("{role}:").format(role=roles[index]) if several else _("Volume:")

        self._watch_region(None if self._context.parameters is None else self._context.parameters.region)

    def _on_new_region(self, node: Any) -> None:
        """A region begins as the whole volume, so that there is something to drag."""
        from UMambaSegmentLib.scene.regions import fit_region

        volume = None if self._context.parameters is None else self._context.parameters.inputVolume
        if volume is not None:
            fit_region(node, volume)

    def _watch_region(self, node: Any) -> None:
        if node is self._region:
            return
        self.close()
        self._region = node
        if node is not None:
            self._region_tag = node.AddObserver("ModifiedEvent", lambda _caller, _event: self._settled.start())

    def region_box(self) -> tuple[float, ...] | None:
        """Where the chosen region is (RAS bounds in mm), or None."""
        if self._region is None:
            return None
        bounds = [0.0] * 6
        self._region.GetRASBounds(bounds)
        return tuple(round(value, 3) for value in bounds)

    def close(self) -> None:
        """Watch no region any more."""
        self._settled.stop()
        if self._region is not None and self._region_tag is not None:
            self._region.RemoveObserver(self._region_tag)
        self._region, self._region_tag = None, None

    def nodes(self) -> list[Any]:
        """The chosen volume nodes, None where none is chosen, one for each role."""
        parameters = self._context.parameters
        if parameters is None:
            return [None] * len(self.roles())
        return [getattr(parameters, name) for name, _role in zip(PARAMETERS, self.roles(), strict=False)]

    def choices(self) -> tuple[ChannelChoice, ...]:
        """What is chosen, for `PanelState`."""
        return tuple(_choice(role, node) for role, node in zip(self.roles(), self.nodes(), strict=True))

    def take_visible_volume(self) -> None:
        """Where no volume is chosen yet, choose the one that the slice views show."""
        from UMambaSegmentLib.scene.volumes import visible_volume_node

        parameters = self._context.parameters
        if parameters is None or parameters.inputVolume is not None:
            return
        node = visible_volume_node()
        if node is not None:
            parameters.inputVolume = node


def wants_colour(card: Any) -> bool:
    """Whether a model takes one colour image in place of several grey ones."""
    return len(card.channels) == 3 and all(channel.modality.upper() == "RGB" for channel in card.channels)


def _choice(role: str, node: Any) -> ChannelChoice:
    if node is None:
        return ChannelChoice(role)
    image = node.GetImageData()
    components = 1 if image is None else image.GetNumberOfScalarComponents()
    has_voxels = image is not None and image.GetNumberOfPoints() > 0
    return ChannelChoice(role, node.GetID() or "", node.GetName() or "", components, has_voxels)
