"""Segment: the forecast before, the button, progress while it runs, and what to say afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mambaseg.errors import MambasegError, OptionError
from mambaseg.options import Options
from UMambaSegmentLib.errors import EngineError, ExtensionError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.panel.advanced_section import AdvancedSection
from UMambaSegmentLib.panel.context import PanelContext
from UMambaSegmentLib.panel.image_section import ImageSection, wants_colour
from UMambaSegmentLib.panel.message import MessageBox
from UMambaSegmentLib.panel.model_section import chosen_folds
from UMambaSegmentLib.panel.progress_text import view_progress
from UMambaSegmentLib.panel.state import PanelState, Phase, segment_button
from UMambaSegmentLib.runs.inputs import need_volumes
from UMambaSegmentLib.runs.pieces import keep_largest_of
from UMambaSegmentLib.runs.run import RunListener, RunRequest

_FORECAST_DELAY_MS = 400


class RunSection:
    """See the module."""

    def __init__(
        self,
        context: PanelContext,
        images: ImageSection,
        advanced: AdvancedSection,
        message: MessageBox,
        show_result: Callable[[Any], None],
    ) -> None:
        import qt

        self._context, self._images, self._advanced = context, images, advanced
        self._message, self._show_result = message, show_result
        self._run: Any = None
        self._phase: Phase = "idle"
        self._forecast_job: Any = None
        self._asked: object = None  # the question whose answer is still wanted
        self._forecast_for: object = None
        self._volume_id = ""
        self._open = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_FORECAST_DELAY_MS)
        self._timer.connect("timeout()", self._ask_forecast)
        context.ui.segmentButton.connect("clicked()", self._on_click)
        self._show_progress(shown=False)
        self.refresh()

    # ---- state

    def state(self) -> PanelState:
        """Everything that decides what the button does."""
        card, parameters = self._context.card, self._context.parameters
        folds = None if parameters is None else chosen_folds(parameters.folds)
        several = card is not None and len(card.folds) > 1
        return PanelState(
            phase=self._phase,
            channels=self._images.choices(),
            model="" if card is None else card.name,
            absent_model="" if card is not None or parameters is None else parameters.model,
            model_state="" if card is None else card.state,
            model_problem="" if card is None else card.problem,
            wants_colour=card is not None and wants_colour(card),
            structures=0 if card is None else len(card.structures),
            chosen_structures=len(self._advanced.ticked()),
            unknown_folds=tuple(
                fold for fold in folds or () if several and card is not None and fold not in card.folds
            ),
            inputs=1 if card is None or wants_colour(card) else len(card.channels),
            missing=tuple(self._context.service.missing_packages()),
        )

    def options(self) -> Options:
        """The engine's options as the panel has them, but for the region.

        Raises
        ------
        OptionError
            If one makes no sense.
        """
        return options_of(self._context.parameters, self._context.settings.device, self._context.card)

    def refresh(self) -> None:
        """Bring button and forecast up to date."""
        state = self.state()
        view = segment_button(state)
        button = self._context.ui.segmentButton
        button.enabled, button.text, button.toolTip = view.enabled, view.text, view.tooltip
        if self._phase != "idle":
            return
        can_run = view.enabled
        if not can_run:
            self._say_forecast("")
        elif state.missing:
            self._say_forecast(self._context.service.install_summary())
        if can_run and not state.missing and self._open:
            self._plan_forecast(state)

    # ---- the output stays with its volume

    def forget_volume(self) -> None:
        """The parameters are another case's."""
        self._volume_id = ""

    def part_from_former_volume(self) -> None:
        """Once another volume is chosen, the former one's result is no longer the output; it can be chosen again."""
        from UMambaSegmentLib.scene.provenance import source_volume_id

        parameters = self._context.parameters
        volume, output = parameters.inputVolume, parameters.outputSegmentation
        if volume is None:
            return
        former, self._volume_id = self._volume_id, volume.GetID()
        if former in ("", self._volume_id) or output is None:
            return
        if source_volume_id(output) == former:
            parameters.outputSegmentation = None

    # ---- forecast

    def set_open(self, is_open: bool) -> None:
        """Whether the panel is looked at; no engine is started for a panel that nobody sees."""
        self._open = is_open
        if is_open:
            self.refresh()
        else:
            self._timer.stop()

    def _plan_forecast(self, state: PanelState) -> None:
        try:
            what = (state, self.options(), self._images.region_box())
        except OptionError:
            return
        if what == self._forecast_for:
            return
        self._forecast_for = what
        self._timer.start()

    def _ask_forecast(self) -> None:
        card = self._context.card
        if card is None or self._phase != "idle" or not segment_button(self.state()).enabled:
            return
        self._forget_forecast()
        self._say_forecast(_("Working out what this needs..."))
        asked = self._asked = object()
        try:
            self._forecast_job = self._context.service.start_forecast(
                self._images.nodes(),
                self._context.parameters.region,
                card.id,
                self.options(),
                lambda answer: self._on_forecast(asked, answer),
                lambda error: self._on_no_forecast(asked, error),
            )
        except (ExtensionError, MambasegError) as error:
            self._say_forecast(str(error))

    def _on_forecast(self, asked: object, answer: Mapping[str, Any]) -> None:
        if asked is not self._asked:
            return  # it was in the pipe already when the question was taken back, or the panel closed
        self._forecast_job = None
        sentence, plan = str(answer.get("sentence", "")), [str(line) for line in answer.get("plan", ())]
        if answer.get("fits", True):
            self._say_forecast(sentence, "\n".join(plan))
        else:  # what will be done then is no detail any more
            self._say_forecast(" ".join([sentence, _("That is more than is free now."), *plan]))

    def _on_no_forecast(self, asked: object, error: EngineError) -> None:
        if asked is not self._asked:
            return
        self._forecast_job = None
        self._say_forecast(str(error), error.log)

    def _say_forecast(self, text: str, details: str = "") -> None:
        label = self._context.ui.forecastLabel
        label.text, label.toolTip = text, details
        label.setVisible(bool(text))

    # ---- running

    def _on_click(self) -> None:
        if self._phase in ("running", "queued"):
            self._phase = "cancelling"
            self.refresh()
            self._run.cancel()
            return
        if self._phase != "idle" or self._context.parameters is None:  # none while the module is not shown
            return
        self._message.clear()
        if self._context.service.missing_packages() and not self._install():
            return
        self.start()

    def _install(self) -> bool:
        self._phase = "installing"
        self.refresh()
        try:
            error = self._context.service.ensure_installed(self._context.dialogs.confirm)
        finally:  # whatever happens, the button must not stay at "Installing..."
            self._phase = "idle"
            self.refresh()
        if error:
            self._message.error(error, self._context.service.install_log())
        return not error

    def start(self, *, reproduced: Any = None) -> None:
        """Start a run of what is chosen, or of what made an earlier segmentation."""
        card = self._context.card
        listener = RunListener(self._on_progress, self._on_finished, self._on_failed, self._on_cancelled)
        service = self._context.service
        self._message.clear()
        self._forget_forecast()
        try:
            if reproduced is not None:
                self._run = service.start_reproduction(reproduced, listener)
            elif card is not None:
                self._run = service.start_run(self._request(card.id), listener, self._context.dialogs.confirm)
        except (ExtensionError, MambasegError) as error:
            self._message.error(str(error))
            self.refresh()
            return
        self._phase = "queued" if self._run.waits else "running"
        self._show_progress(shown=True)
        self._say_progress(0, _("Waiting for the run before it") if self._run.waits else _("Starting the engine"))
        self._context.changed()

    def _request(self, model: str) -> RunRequest:
        parameters = self._context.parameters
        nodes = need_volumes(self._images.nodes())
        return RunRequest(nodes, model, self.options(), parameters.outputSegmentation, parameters.region)

    def _forget_forecast(self) -> None:
        """A question that waits, or is being answered, must not keep a run waiting."""
        self._timer.stop()
        self._asked = None
        if self._forecast_job is not None:
            job, self._forecast_job = self._forecast_job, None
            self._context.service.cancel_job(job)

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        if self._phase == "queued":
            self._phase = "running"
            self.refresh()
        view = view_progress(event)
        self._say_progress(view.percent, view.text)

    def _on_finished(self, finished: Any) -> None:
        self._over()
        parameters = self._context.parameters
        if parameters is None:  # another module is looked at; the scene keeps the choices meanwhile
            parameters = self._context.service.parameters()
        notes = list(finished.notes)
        if parameters.inputVolume is finished.volume.get():
            parameters.outputSegmentation = finished.node()
        else:  # the next run is of another volume and must not go into this one's segmentation
            notes.append(
                _("The result of '{volume}' is in '{segmentation}'.").format(
                    volume=finished.volume.name, segmentation=finished.handle.name
                )
            )
        self._show_result(finished)
        if notes:
            self._message.note(" ".join(notes))
        self._context.changed()

    def _on_failed(self, error: Exception) -> None:
        self._over()
        self._message.error(str(error), getattr(error, "log", ""))
        self._context.changed()

    def _on_cancelled(self) -> None:
        self._over()
        self._message.note(_("Cancelled. Nothing was changed."))
        self._context.changed()

    def _over(self) -> None:
        self._run, self._phase, self._forecast_for = None, "idle", None
        self._show_progress(shown=False)

    def _show_progress(self, *, shown: bool) -> None:
        ui = self._context.ui
        ui.progressBar.setVisible(shown)
        ui.statusLabel.setVisible(shown)

    def _say_progress(self, percent: int, text: str) -> None:
        ui = self._context.ui
        ui.progressBar.value = percent
        ui.statusLabel.text = text

    def close(self) -> None:
        """Stop what runs; nothing is shown any more."""
        self._forget_forecast()
        if self._run is not None:
            run, self._run = self._run, None
            run.abandon()


def options_of(parameters: Any, device: str, card: Any) -> Options:
    """The engine's options from the case's parameters, without the region.

    Raises
    ------
    OptionError
        If one makes no sense.
    """
    left_out = set(parameters.leftOut)
    names = () if card is None else tuple(structure.name for structure in card.structures)
    kept = tuple(name for name in names if name not in left_out)
    several = card is not None and len(card.folds) > 1
    return Options(
        device=device,
        precision=parameters.precision,
        folds=chosen_folds(parameters.folds) if several else None,
        tile_step=round(1.0 - float(parameters.tileOverlap), 4),
        mirror=bool(parameters.mirror),
        structures=None if len(kept) == len(names) else kept,
        keep_largest=keep_largest_of(parameters.pieces),
        probabilities=bool(parameters.probabilities),
    )
