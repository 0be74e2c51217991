"""One place in the panel where errors and remarks stand, with details below that can be copied.

The label is told in the ``.ui`` file that its text is markup: Qt's guess takes a sentence without tags for plain text.
"""

from __future__ import annotations

import html
from typing import Any


class MessageBox:
    """A label and a details field that show only when there is something to say."""

    def __init__(self, label: Any, details: Any) -> None:
        self._label, self._details = label, details
        self.clear()

    def clear(self) -> None:
        """Say nothing."""
        self._label.text = ""
        self._label.setVisible(False)
        self._details.plainText = ""
        self._details.setVisible(False)

    def error(self, sentence: str, details: str = "") -> None:
        """Show what went wrong."""
        # a red that can be read on Slicer's light and dark themes
        self._show(f'<span style="color:#d9534f;">&#9888;</span> {html.escape(sentence)}', details)

    def note(self, sentence: str) -> None:
        """Show a remark."""
        self._show(html.escape(sentence), "")

    def _show(self, markup: str, details: str) -> None:
        self._label.text = markup
        self._label.setVisible(True)
        self._details.plainText = details
        self._details.setVisible(bool(details.strip()))
