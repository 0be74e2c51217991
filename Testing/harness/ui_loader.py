"""qt.QUiLoader for .ui files with CTK's and Slicer's widgets, checked against the contract."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import PurePath
from typing import Any

from PySide6 import QtCore, QtUiTools

from harness import connecting
from harness.contract import WIDGETS, properties, qt_class, qt_has_property
from harness.native import native, values
from harness.report import REPORT
from harness.wrapping import unwrap, wrap


class UiLoader:
    """Loads a .ui file; what Slicer's loader would ignore in silence is reported."""

    def load(self, file: Any, parent: Any = None) -> Any:
        """Make the widgets of an open file.

        Raises
        ------
        RuntimeError
            The file names a widget class that neither Qt nor the contract has.
        """
        path = PurePath(unwrap(file).fileName())
        # The project's own files, in tests.
        root = ET.parse(path).getroot()  # noqa: S314
        later: list[tuple[str, str, str]] = []
        loader = QtUiTools.QUiLoader()
        for element in root.iter("widget"):
            class_name = element.get("class", "")
            if class_name not in WIDGETS and qt_class(class_name) is None:
                raise RuntimeError(f"{path.name}: unknown widget class {class_name}")
            if class_name in WIDGETS:
                loader.registerCustomWidget(native(class_name))
                later += _take_enums(path.name, element, class_name)
        connections = _take_connections(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        made = loader.load(buffer, unwrap(parent)) if parent else loader.load(buffer)
        if made is None:
            return None
        named = {child.objectName(): child for child in made.findChildren(QtCore.QObject) if child.objectName()}
        named[made.objectName()] = made
        for name, title, value in later:
            values(named[name])[title] = value
        for sender, signal, receiver, slot in connections:
            connecting.connect(wrap(named[sender]), signal, getattr(wrap(named[receiver]), slot.split("(")[0]))
        return wrap(made)


def _take_enums(file_name: str, element: ET.Element, class_name: str) -> list[tuple[str, str, str]]:
    """Take out what PySide6 cannot set on a class made here (enums and flags), and report unknown properties."""
    name, known = element.get("name", ""), properties(class_name)
    taken: list[tuple[str, str, str]] = []
    for entry in list(element.findall("property")):
        title = entry.get("name", "")
        if entry.get("stdset") == "0":
            # A dynamic property, on purpose.
            continue
        if title not in known and not qt_has_property(class_name, title):
            REPORT.note(f"{file_name}: {class_name} {name}: no property {title}")
        if title in known and entry[0].tag in ("set", "enum"):
            taken.append((name, title, entry[0].text or ""))
            element.remove(entry)
    return taken


def _take_connections(root: ET.Element) -> list[tuple[str, str, str, str]]:
    """Take out the connections: PySide6 would not know the contract's slots."""
    section = root.find("connections")
    if section is None:
        return []
    root.remove(section)
    taken = []
    for entry in section.findall("connection"):
        sender, signal, receiver, slot = (entry.findtext(key, "") for key in ("sender", "signal", "receiver", "slot"))
        taken.append((sender, signal, receiver, slot))
    return taken
