"""The panel: its sections, and the order in which they look at what has changed."""

from __future__ import annotations

from typing import Any

from UMambaSegmentLib.panel.advanced_section import AdvancedSection
from UMambaSegmentLib.panel.batch_section import BatchSection
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.diagnose_section import DiagnoseSection
from UMambaSegmentLib.panel.dialogs import Dialogs
from UMambaSegmentLib.panel.image_section import ImageSection
from UMambaSegmentLib.panel.message import MessageBox
from UMambaSegmentLib.panel.model_section import ModelSection
from UMambaSegmentLib.panel.models_section import ModelsSection
from UMambaSegmentLib.panel.result_section import ResultSection
from UMambaSegmentLib.panel.run_section import RunSection
from UMambaSegmentLib.runs.panel_service import PanelService
from UMambaSegmentLib.settings import SettingsStore


class Panel:
    """Everything below the module's title.

    Parameters
    ----------
    ui
        The widgets of ``UMambaSegment.ui`` by name.
    service
        What the panel asks for.
    dialogs
        Questions to the person.
    store
        The application's settings.
    """

    def __init__(self, ui: Any, service: PanelService, dialogs: Dialogs, store: SettingsStore) -> None:
        self._context = context = PanelContext(ui, service, dialogs, store)
        self._refreshing = False
        self._message = MessageBox(ui.messageLabel, ui.messageDetails)
        self._model = ModelSection(context)
        self._images = ImageSection(context)
        self._advanced = AdvancedSection(context)
        self._run = RunSection(context, self._images, self._advanced, self._message, self._show_result)
        self._result = ResultSection(context, self._message, lambda node: self._run.start(reproduced=node))
        self._models = ModelsSection(context, self._model.reload)
        self._batch = BatchSection(context, self._run.options)
        self._diagnose = DiagnoseSection(context)
        context.on_change(self.refresh)

    def bound_widgets(self) -> dict[str, Any]:
        """The widgets that show a parameter, by its name, for ``connectParametersToGui``.

        ``connectGui`` finds the same ones, but up to Slicer 5.13 it gives no tag to disconnect them again: they would
        go on writing after the module was left, and filling the combo boxes anew would reset what was chosen.
        """
        named = {widget.property("SlicerParameterName"): widget for widget in vars(self._context.ui).values()}
        return {str(name): widget for name, widget in named.items() if name}

    def follow(self, parameters: Any) -> None:
        """Follow another parameter node, or none while a scene closes."""
        self._context.parameters = parameters
        self._run.forget_volume()
        if parameters is None:
            self._images.close()

    def take_visible_volume(self) -> None:
        """Where no volume is chosen yet, choose the one that the slice views show."""
        self._images.take_visible_volume()

    def enter(self) -> None:
        """The panel is looked at."""
        self._context.service.look_again()
        self._model.reload()
        self._models.look_again()
        self._run.set_open(True)

    def leave(self) -> None:
        """Another module is looked at; a run goes on."""
        self._run.set_open(False)

    def refresh(self) -> None:
        """Bring every section up to date with the parameters."""
        if self._context.parameters is None or self._refreshing:
            return
        self._refreshing = True  # a section that sets a parameter makes it tell of its change
        try:
            self._model.follow_parameters()
            self._run.part_from_former_volume()
            for section in (self._images, self._advanced, self._run, self._result, self._models, self._batch):
                section.refresh()
        finally:
            self._refreshing = False

    def forget_results(self) -> None:
        """The scene is being closed."""
        self._result.forget()
        self._message.clear()

    def close(self) -> None:
        """Stop what runs; nothing is shown any more."""
        self._images.close()
        self._run.close()
        self._batch.close()

    def _show_result(self, finished: Any) -> None:
        self._result.show(finished)
