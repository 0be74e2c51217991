"""Advanced: device, structures, the engine's Python. The case's other choices are bound by the ``.ui`` file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.card import ModelCard
from UMambaSegmentLib.panel.context import PanelContext


class AdvancedSection:
    """See the module."""

    def __init__(self, context: PanelContext) -> None:
        self._context = context
        self._filling = False
        self._devices: tuple[tuple[str, str], ...] = ()
        self._asked_devices = False
        self._shown: tuple[str, str, tuple[str, ...]] | None = None
        ui = context.ui
        settings = context.settings
        self._device_tip = ui.deviceSelector.toolTip
        self._fill_devices()
        ui.warmCheckBox.checked = settings.keep_warm
        ui.interpreterPath.currentPath = settings.interpreter
        ui.deviceSelector.connect("currentIndexChanged(int)", self._on_device)
        ui.warmCheckBox.connect("toggled(bool)", self._on_warm)
        ui.interpreterPath.connect("currentPathChanged(QString)", self._on_interpreter)
        ui.structuresList.connect("itemChanged(QListWidgetItem*)", self._on_ticked)
        ui.allStructuresButton.connect("clicked()", lambda: self._tick_all(ticked=True))
        ui.noStructuresButton.connect("clicked()", lambda: self._tick_all(ticked=False))
        ui.advancedSection.connect("contentsCollapsed(bool)", self._on_collapsed)

    # ---- device

    def _fill_devices(self) -> None:
        chosen = self._context.settings.device
        known = [("auto", _("Automatic (the fastest that is found)")), *self._devices]
        if chosen not in [name for name, _title in known]:
            known.append((chosen, chosen))
        if len(known) == 1:
            known.append(("cpu", _("CPU")))
        selector = self._context.ui.deviceSelector
        self._filling = True
        selector.clear()
        for name, title in known:
            selector.addItem(title, name)
        selector.setCurrentIndex([name for name, _title in known].index(chosen))
        self._filling = False

    def show_devices(self, found: Mapping[str, Any]) -> None:
        """Name the devices that the engine found; the tip says which are here and cannot be used."""
        self._devices = tuple((str(one["name"]), f"{one['name']}: {one['title']}") for one in found["devices"])
        self._context.ui.deviceSelector.toolTip = "\n".join([self._device_tip, *map(str, found["refused"])])
        self._fill_devices()

    def _on_no_devices(self, error: EngineError) -> None:
        self._asked_devices = False
        self._context.ui.deviceSelector.toolTip = str(error)

    def _on_collapsed(self, collapsed: bool) -> None:
        if collapsed or self._asked_devices or self._context.service.missing_packages():
            return
        self._asked_devices = True
        self._context.service.find_devices(self.show_devices, self._on_no_devices)

    def _on_device(self, index: int) -> None:
        if self._filling or index < 0:
            return
        name = str(self._context.ui.deviceSelector.itemData(index))
        self._context.save_settings(replace(self._context.settings, device=name))
        self._context.changed()

    # ---- engine

    def _on_warm(self, on: bool) -> None:
        self._context.save_settings(replace(self._context.settings, keep_warm=bool(on)))
        self._context.service.restart_idle_engine()

    def _on_interpreter(self, path: str) -> None:
        self._context.save_settings(replace(self._context.settings, interpreter=str(path).strip()))
        self._asked_devices = False
        self._context.service.restart_idle_engine()
        self._context.changed()

    # ---- structures

    def refresh(self) -> None:
        """Show the chosen model's structures, ticked but for those that the case leaves out."""
        card, parameters = self._context.card, self._context.parameters
        left_out = () if parameters is None else tuple(parameters.leftOut)
        shown = None if card is None else (card.id, card.version, left_out)
        if shown == self._shown:
            return
        self._shown = shown
        import qt

        structures = self._context.ui.structuresList
        self._filling = True
        structures.clear()
        for structure in () if card is None else card.structures:
            item = qt.QListWidgetItem(structure.name)
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Unchecked if structure.name in left_out else qt.Qt.Checked)
            structures.addItem(item)
        self._filling = False

    def ticked(self) -> tuple[str, ...]:
        """Names of the structures that are wanted."""
        card, parameters = self._context.card, self._context.parameters
        return wanted_structures(card, () if parameters is None else parameters.leftOut)

    def _on_ticked(self, _item: Any) -> None:
        if self._filling:
            return
        import qt

        structures = self._context.ui.structuresList
        items = [structures.item(row) for row in range(structures.count)]
        self._keep([str(item.text()) for item in items if item.checkState() != qt.Qt.Checked])

    def _tick_all(self, *, ticked: bool) -> None:
        card = self._context.card
        self._keep([] if ticked or card is None else [structure.name for structure in card.structures])
        self.refresh()

    def _keep(self, left_out: list[str]) -> None:
        if self._context.parameters is not None:
            self._context.parameters.leftOut = left_out


def wanted_structures(card: ModelCard | None, left_out: Sequence[str]) -> tuple[str, ...]:
    """The model's structures but for those left out."""
    if card is None:
        return ()
    return tuple(structure.name for structure in card.structures if structure.name not in set(left_out))
