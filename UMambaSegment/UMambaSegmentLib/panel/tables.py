"""Filling a QTableWidget that is only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_ROW_HEIGHT = 22


def fill_table(table: Any, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show rows under heads; the last column takes the room that is left."""
    import qt

    table.setRowCount(0)
    table.setColumnCount(len(heads))
    table.setHorizontalHeaderLabels(list(heads))
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
    table.horizontalHeader().setStretchLastSection(True)
    for number, cells in enumerate(rows):
        set_row(table, number, cells)


def set_row(table: Any, row: int, cells: Sequence[str], color: tuple[int, int, int] | None = None) -> None:
    """Write one row, adding it where it is not there yet; a colour fills the first cell's swatch."""
    import qt

    if row >= table.rowCount:
        table.setRowCount(row + 1)
    for column, text in enumerate(cells):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(text)
        if column == 0 and color is not None:
            swatch = qt.QPixmap(12, 12)
            swatch.fill(qt.QColor(*color))
            item.setIcon(qt.QIcon(swatch))
        table.setItem(row, column, item)
