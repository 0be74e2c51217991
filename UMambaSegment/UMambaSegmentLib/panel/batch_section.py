"""Batch: a folder in, a folder out, one row a case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.sizes import seconds_text
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.progress_text import view_progress
from UMambaSegmentLib.panel.tables import fill_table, set_row
from UMambaSegmentLib.runs.service import FolderListener

_STATUS = {"done": _("segmented"), "skipped": _("finished before"), "failed": _("failed")}


class BatchSection:
    """See the module."""

    def __init__(self, context: PanelContext, options: Any) -> None:
        self._context = context
        self._options = options
        self._run: Any = None
        self._rows: dict[str, int] = {}
        ui = context.ui
        ui.batchProgressBar.setVisible(False)
        fill_table(ui.batchTable, self._heads(), [])
        ui.batchButton.connect("clicked()", self._on_click)
        ui.batchInputPath.connect("currentPathChanged(QString)", lambda _path: self.refresh())
        ui.batchOutputPath.connect("currentPathChanged(QString)", lambda _path: self.refresh())
        self.refresh()

    @staticmethod
    def _heads() -> list[str]:
        return [_("Case"), _("Status"), _("Time"), _("Message")]

    def refresh(self) -> None:
        """Say on the button what a click does, and why none is possible."""
        ui, card = self._context.ui, self._context.card
        if self._run is not None:
            ui.batchButton.enabled, ui.batchButton.text = True, _("Cancel")
            ui.batchButton.toolTip = _("Stop. What is finished stays, and the batch can be resumed.")
            return
        reasons = []
        if card is None or not card.runnable:
            reasons.append(_("Choose a model that is on this computer."))
        given, target = str(ui.batchInputPath.currentPath).strip(), str(ui.batchOutputPath.currentPath).strip()
        if not given or not Path(given).is_dir():
            reasons.append(_("Choose an input folder that is there."))
        if not target:
            reasons.append(_("Choose an output folder."))
        elif given and Path(target).expanduser() == Path(given).expanduser():
            reasons.append(_("Choose an output folder that is not the input folder."))
        ui.batchButton.enabled, ui.batchButton.text = not reasons, _("Segment folder")
        ui.batchButton.toolTip = "\n".join(reasons) or _("Segment every image of the input folder.")

    def _on_click(self) -> None:
        if self._run is not None:
            self._context.ui.batchStatusLabel.text = _("Stopping...")
            self._run.cancel()
            return
        error = self._context.service.ensure_installed(self._context.dialogs.confirm)
        if error:
            self._context.ui.batchStatusLabel.text = error
            return
        self._start()

    def _start(self) -> None:
        ui, card = self._context.ui, self._context.card
        if card is None or self._context.parameters is None:  # none while the module is not shown
            return
        self._rows = {}
        fill_table(ui.batchTable, self._heads(), [])
        for path in (ui.batchInputPath, ui.batchOutputPath):
            path.addCurrentPathToHistory()
        ui.batchProgressBar.value = 0
        ui.batchProgressBar.setVisible(True)
        ui.batchStatusLabel.text = _("Starting the engine...")
        self._run = self._context.service.start_folder(
            str(ui.batchInputPath.currentPath),
            str(ui.batchOutputPath.currentPath),
            card.id,
            self._options(),
            FolderListener(self._on_progress, self._on_finished, self._on_failed, self._on_cancelled),
            resume=bool(ui.batchResumeCheckBox.checked),
        )
        self.refresh()

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        ui = self._context.ui
        case, index, count = str(event.get("case") or ""), int(event.get("index") or 0), int(event.get("count") or 1)
        outcome = event.get("outcome")
        view = view_progress(event)
        if isinstance(outcome, Mapping):
            self._show_case(case, _outcome_row(outcome))
            share = (index + 1) / count
        elif case:
            self._show_case(case, [case, _("{percent} %").format(percent=view.percent), "", view.text])
            share = (index + view.percent / 100) / count
        else:
            ui.batchStatusLabel.text = view.text
            return
        ui.batchProgressBar.value = round(100 * share)
        ui.batchStatusLabel.text = _("Case {number} of {count}: {case}").format(
            number=index + 1, count=count, case=case
        )

    def _show_case(self, case: str, cells: list[str]) -> None:
        table = self._context.ui.batchTable
        row = self._rows.setdefault(case, len(self._rows))
        set_row(table, row, cells)

    def _on_finished(self, answer: Mapping[str, Any]) -> None:
        for outcome in answer.get("cases", ()):
            self._show_case(str(outcome["case"]), _outcome_row(outcome))
        counts = dict.fromkeys(_STATUS, 0)
        for outcome in answer.get("cases", ()):
            counts[str(outcome["status"])] += 1
        self._over(
            _("{done} segmented, {skipped} finished before, {failed} failed. Volumes are in '{csv}'.").format(
                **counts, csv=answer.get("csv", "")
            )
        )

    def _on_failed(self, error: Exception) -> None:
        self._over(str(error))

    def _on_cancelled(self) -> None:
        self._over(_("Stopped. What is finished stays; the same folders and Resume go on from there."))

    def _over(self, text: str) -> None:
        self._run = None
        ui = self._context.ui
        ui.batchProgressBar.setVisible(False)
        ui.batchStatusLabel.text = text
        self.refresh()

    def close(self) -> None:
        """Stop what runs; nothing is shown any more."""
        if self._run is not None:
            run, self._run = self._run, None
            run.abandon()


def _outcome_row(outcome: Mapping[str, Any]) -> list[str]:
    status = str(outcome.get("status", ""))
    seconds = float(outcome.get("seconds") or 0.0)
    return [
        str(outcome.get("case", "")),
        _STATUS.get(status, status),
        seconds_text(seconds) if status != "skipped" else "",
        str(outcome.get("message") or ""),
    ]
