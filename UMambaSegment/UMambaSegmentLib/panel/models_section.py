"""Models on this computer: bring in, download, remove, licence, disk use. The engine does the work and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from UMambaSegmentLib.engine.jobs import Job
from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.listing import disk_use
from UMambaSegmentLib.models.sizes import bytes_text
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.progress_text import view_progress


class ModelsSection:
    """See the module."""

    def __init__(self, context: PanelContext, reload_models: Callable[[], None]) -> None:
        self._context = context
        self._reload_models = reload_models
        self._busy = False
        self._taken = 0
        self._job: Job | None = None
        ui = context.ui
        ui.modelsProgressBar.setVisible(False)
        ui.importFileButton.connect("clicked()", self._on_import_file)
        ui.importFolderButton.connect("clicked()", self._on_import_folder)
        ui.downloadButton.connect("clicked()", self._on_download)
        ui.removeButton.connect("clicked()", self._on_remove)
        ui.licenceButton.connect("clicked()", self._on_licence)
        self.look_again()

    def look_again(self) -> None:
        """Look anew at how much room the models take; not at every change, as a folder may be large or far away."""
        self._taken = disk_use()
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done with the chosen model."""
        ui, card = self._context.ui, self._context.card
        ui.diskUseLabel.text = (
            _("Installed models take {size}.").format(size=bytes_text(self._taken))
            if self._taken
            else _("No models are installed beside those that came with the extension.")
        )
        free = not self._busy
        for button in (ui.importFileButton, ui.importFolderButton):
            button.enabled = free
        can_download = card is not None and (card.state == "to download" or bool(card.update))
        ui.downloadButton.enabled = (free and can_download) or self._job is not None
        ui.downloadButton.text = _("Cancel") if self._job is not None else _("Download")
        ui.removeButton.enabled = free and card is not None and card.state in ("installed", "damaged")
        ui.licenceButton.enabled = card is not None and bool(card.licence or card.licence_path or card.licence_url)

    def _on_import_file(self) -> None:
        title = _("Import a model file")
        filters = _("Models (*.mambaseg *.pth *.pt *.json)")
        self._import(self._context.dialogs.choose_file(title, filters))

    def _on_import_folder(self) -> None:
        self._import(self._context.dialogs.choose_folder(_("Import a model folder")))

    def _import(self, path: str) -> None:
        if path and self._installed_engine():
            self._ask("import", {"path": path, "replace": False, "orientation": None}, replace_question=True)

    def _on_download(self) -> None:
        if self._job is not None:
            self._context.service.cancel_job(self._job)
            return
        card = self._context.card
        if card is None or not self._installed_engine():
            return
        question = _("Download '{title}' ({size})? Its licence: {licence}.").format(
            title=card.name, size=bytes_text(card.bytes), licence=card.licence or _("not stated")
        )
        if self._context.dialogs.confirm(question):
            self._ask("download", {"model": card.id, "replace": False}, replace_question=True)

    def _on_remove(self) -> None:
        card = self._context.card
        if card is None or not self._installed_engine():
            return
        question = _("Remove '{title}' from this computer? {size} are freed.").format(
            title=card.name, size=bytes_text(card.bytes)
        )
        if self._context.dialogs.confirm(question):
            self._ask("remove", {"model": card.id})

    def _on_licence(self) -> None:
        card = self._context.card
        if card is None:
            return
        text = "\n".join(part for part in (card.licence, card.licence_url) if part) or _("No licence is stated.")
        if card.licence_path is not None:
            text = card.licence_path.read_text(encoding="utf-8", errors="replace")
        self._context.dialogs.show_text(_("Licence of '{title}'").format(title=card.name), text)

    def _installed_engine(self) -> bool:
        """Whether the engine can be asked; it is installed first where it is not."""
        error = self._context.service.ensure_installed(self._context.dialogs.confirm)
        if error:
            self._say(error)
        return not error

    def _ask(self, request: str, parameters: Mapping[str, Any], *, replace_question: bool = False) -> None:
        def done(answer: Mapping[str, Any]) -> None:
            self._finish(_done_text(request, answer))

        def failed(error: EngineError) -> None:
            text = str(error)
            another = error.kind == "ModelError" and "installed already" in text
            if replace_question and another and self._context.dialogs.confirm(text + "\n\n" + _("Replace it?")):
                self._ask(request, {**parameters, "replace": True})
                return
            self._finish(text)

        def cancelled() -> None:
            self._finish(_("Stopped. What was downloaded is kept, and the next try goes on from there."))

        self._busy = True
        self._say(_("Working..."))
        self._context.ui.modelsProgressBar.setVisible(request == "download")
        service = self._context.service
        job = service.ask_engine(request, dict(parameters), done, failed, self._on_progress, cancelled)
        self._job = job if request == "download" else None
        self.refresh()

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        view = view_progress(event)
        self._context.ui.modelsProgressBar.value = view.percent
        self._say(view.text)

    def _finish(self, text: str) -> None:
        self._busy, self._job = False, None
        self._context.ui.modelsProgressBar.setVisible(False)
        self._say(text)
        self.look_again()
        self._reload_models()
        self._context.changed()

    def _say(self, text: str) -> None:
        self._context.ui.modelsStatusLabel.text = text


def _done_text(request: str, answer: Mapping[str, Any]) -> str:
    name, size = str(answer.get("model", "")), bytes_text(float(answer.get("bytes") or 0))
    if request == "remove":
        return _("'{name}' was removed; {size} are free again.").format(name=name, size=size)
    return _("'{name}' is installed ({size}).").format(name=name, size=size)
