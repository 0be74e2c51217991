"""ctkSliderWidget and its kin: a slider with a spin box, bounded values."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from harness.behaviours.layout import in_a_row
from harness.native import behaviour


@behaviour
class ctkSliderWidget:
    """A slider beside a spin box, with one value."""

    def __init__(self: Any, parent: Any = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        in_a_row(self, self._slider, self._box)
        self._props = {
            "minimum": 0.0,
            "maximum": 99.0,
            "value": 0.0,
            "singleStep": 1.0,
            "decimals": 2,
            "tracking": True,
            "spinBoxVisible": True,
        }
        self._show()
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self.set_value)

    def _slid(self: Any, step: int) -> None:
        self.set_value(self._props["minimum"] + step * self._props["singleStep"])

    def _show(self: Any) -> None:
        props = self._props
        with QtCore.QSignalBlocker(self._slider), QtCore.QSignalBlocker(self._box):
            self._box.setDecimals(int(props["decimals"]))
            self._box.setRange(props["minimum"], props["maximum"])
            self._box.setSingleStep(props["singleStep"])
            self._box.setValue(props["value"])
            step = props["singleStep"] or 1
            self._slider.setRange(0, round((props["maximum"] - props["minimum"]) / step))
            self._slider.setValue(round((props["value"] - props["minimum"]) / step))

    def set_value(self: Any, value: float) -> None:
        bounded = min(max(float(value), self._props["minimum"]), self._props["maximum"])
        if bounded != self._props["value"]:
            self._props["value"] = bounded
            self._show()
            self.valueChanged.emit(bounded)

    def setValue(self: Any, value: float) -> None:
        self.set_value(value)

    def set_minimum(self: Any, value: float) -> None:
        self._props["minimum"] = float(value)
        self.set_value(self._props["value"])
        self._show()

    def set_maximum(self: Any, value: float) -> None:
        self._props["maximum"] = float(value)
        self.set_value(self._props["value"])
        self._show()

    def set_singleStep(self: Any, value: float) -> None:
        self._props["singleStep"] = float(value)
        self._show()

    def set_decimals(self: Any, value: int) -> None:
        self._props["decimals"] = int(value)
        self._show()

    def set_spinBoxVisible(self: Any, value: bool) -> None:
        self._props["spinBoxVisible"] = bool(value)
        self._box.setVisible(bool(value))
