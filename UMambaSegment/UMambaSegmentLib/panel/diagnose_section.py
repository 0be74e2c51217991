"""Diagnose: one text that can be copied into a question."""

from __future__ import annotations

import platform

from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.panel.context import PanelContext


class DiagnoseSection:
    """Shows what the engine's doctor finds, below what only Slicer knows."""

    def __init__(self, context: PanelContext) -> None:
        import qt

        self._context = context
        ui = context.ui
        font = qt.QFont("monospace")
        font.setStyleHint(qt.QFont.Monospace)
        ui.diagnosisText.setFont(font)
        ui.diagnoseButton.connect("clicked()", self._on_diagnose)
        ui.copyDiagnosisButton.connect("clicked()", self._on_copy)

    def _on_diagnose(self) -> None:
        ui = self._context.ui
        ui.diagnoseButton.enabled = False
        ui.copyDiagnosisButton.enabled = False
        ui.diagnosisText.plainText = _("Looking; the trial run takes a few seconds...")
        missing = self._context.service.missing_packages()
        if missing:
            lines = _("Not installed yet: {names}. The first click on Segment asks and installs them.")
            self._show(slicer_text() + "\n" + lines.format(names=", ".join(missing)))
            return
        self._context.service.diagnose(lambda text: self._show(slicer_text() + "\n" + text), self._on_failed)

    def _on_failed(self, error: EngineError) -> None:
        parts = (slicer_text(), _("The engine could not be asked: {error}").format(error=error), error.log)
        self._show("\n".join(part for part in parts if part))

    def _show(self, text: str) -> None:
        ui = self._context.ui
        ui.diagnosisText.plainText = text
        ui.diagnoseButton.enabled = True
        ui.copyDiagnosisButton.enabled = True

    def _on_copy(self) -> None:
        import slicer

        slicer.app.clipboard().setText(self._context.ui.diagnosisText.plainText)


def slicer_text() -> str:
    """What only Slicer's side knows: its version and settings."""
    import slicer

    app = slicer.app
    return "\n".join(
        (
            "Slicer",
            f"  version      {app.applicationVersion} ({app.os} {app.arch}, revision {app.revision})",
            f"  Python       {platform.python_version()}",
            f"  temporary    {app.temporaryPath}",
        )
    )
