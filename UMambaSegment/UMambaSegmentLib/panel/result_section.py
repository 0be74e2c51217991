"""The result: volumes, 3D, on to Segment Editor, undo, reproduce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.message import MessageBox
from UMambaSegmentLib.panel.tables import fill_table, set_row


class ResultSection:
    """Shows the last run's result, or the chosen segmentation if a run made it before."""

    def __init__(self, context: PanelContext, message: MessageBox, reproduce: Callable[[Any], None]) -> None:
        self._context = context
        self._message = message
        self._reproduce = reproduce
        self._finished: Any = None
        ui = context.ui
        fill_table(ui.volumesTable, self._heads(), [])
        ui.editButton.connect("clicked()", self._on_edit)
        ui.undoButton.connect("clicked()", self._on_undo)
        ui.reproduceButton.connect("clicked()", self._on_reproduce)
        ui.tableButton.connect("clicked()", self._on_table)
        self.refresh()

    @staticmethod
    def _heads() -> list[str]:
        return [_("Segment"), _("Volume (ml)")]

    def show(self, finished: Any) -> None:
        """Show what a run gave."""
        self._finished = finished
        table = self._context.ui.volumesTable
        fill_table(table, self._heads(), [])
        colours = {segment.name: segment.color for segment in finished.segments}
        for row, (name, volume) in enumerate(finished.volumes_ml.items()):
            set_row(table, row, [name, f"{volume:.2f}"], colours.get(name))
        table.resizeColumnsToContents()
        self.refresh()

    def forget(self) -> None:
        """Show no result, as after a scene was closed."""
        self._finished = None
        fill_table(self._context.ui.volumesTable, self._heads(), [])
        self.refresh()

    def segmentation(self) -> Any:
        """The node that the buttons act on: the chosen output, else the last run's."""
        parameters = self._context.parameters
        chosen = None if parameters is None else parameters.outputSegmentation
        if chosen is not None:
            return chosen
        return None if self._finished is None else self._finished.node()

    def refresh(self) -> None:
        """Enable what can be done now."""
        from UMambaSegmentLib.scene.provenance import read_provenance

        ui, node = self._context.ui, self.segmentation()
        finished = self._finished
        if finished is not None and finished.node() is None:
            finished = self._finished = None
            fill_table(ui.volumesTable, self._heads(), [])
        # what was shown of the last run does not belong to another segmentation
        shown = finished is not None and finished.node() is node
        made_here = node is not None and read_provenance(node) is not None
        ui.resultSection.setVisible(node is not None)
        ui.volumesTable.setVisible(shown)
        ui.tableButton.enabled = shown
        ui.undoButton.enabled = shown and finished is not None and finished.undo is not None
        ui.reproduceButton.enabled = made_here
        ui.editButton.enabled = node is not None
        ui.show3DButton.setSegmentationNode(node)
        ui.show3DButton.enabled = node is not None

    def _on_edit(self) -> None:
        node = self.segmentation()
        if node is not None:
            volume = None if self._context.parameters is None else self._context.parameters.inputVolume
            try:
                self._context.service.edit_in_segment_editor(node, volume)
            except SceneError as error:
                self._message.error(str(error))

    def _on_undo(self) -> None:
        finished = self._finished
        if finished is None or finished.undo is None:
            return
        if finished.undo.edited_since and not self._context.dialogs.confirm(
            _("The segmentation was edited after the run; Undo takes these edits away too. Undo?")
        ):
            return
        self._finished = None
        try:
            finished.undo.undo()
        except SceneError as error:
            self._message.error(str(error))
        else:
            self._message.note(_("The last result was taken out of the scene again."))
        self._context.changed()

    def _on_reproduce(self) -> None:
        node = self.segmentation()
        if node is not None:
            self._reproduce(node)

    def _on_table(self) -> None:
        if self._finished is not None:
            self._context.service.volumes_to_table(self._finished)
            self._message.note(_("The volumes are in a table of the scene; see the Tables module."))
