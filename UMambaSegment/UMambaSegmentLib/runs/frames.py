"""Every frame of a sequence, one after the other, into a sequence of segmentations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mambaseg.worker.protocol import load_result, save_volume
from UMambaSegmentLib.runs.folder import ExchangeFolder
from UMambaSegmentLib.runs.run import RunRequest
from UMambaSegmentLib.runs.session import Session
from UMambaSegmentLib.scene.provenance import Provenance
from UMambaSegmentLib.scene.sequences import FrameWalk


class SequenceRun:
    """Steps through the frames; the scene gets the sequence only after the last one.

    Parameters
    ----------
    session
        The engine.
    request
        Of a run; its first volume is the one that the sequence browser shows.
    temporary
        Slicer's temporary folder.
    on_frame
        Told how many frames of how many are done.
    """

    def __init__(
        self,
        session: Session,
        request: RunRequest,
        temporary: str,
        on_frame: Callable[[int, int], None] | None = None,
    ) -> None:
        self._session, self._request, self._temporary = session, request, temporary
        self._on_frame = on_frame or (lambda _done, _count: None)

    def run(self) -> Any:
        """Segment all frames and give the segmentation node that follows the browser.

        Raises
        ------
        SceneError
            If the volume is no sequence, or is gone.
        EngineError
            If a frame cannot be segmented.
        """
        record: Provenance | None = None
        with FrameWalk(self._request.volume_nodes[0]) as walk:
            for index in walk:
                record = self._one(walk)
                self._on_frame(index + 1, walk.count)
            made = record or Provenance(self._request.model)
            name = self._request.name or f"{self._request.volume_nodes[0].GetName()} {made.model_id}"
            return walk.finish(name=name, provenance=made.as_mapping())

    def _one(self, walk: FrameWalk) -> Provenance:
        folder = ExchangeFolder(self._temporary)
        try:
            given = walk.read()
            ref = save_volume(given.volume, folder.path)
            parameters = {
                "volumes": [asdict(ref)],
                "model": self._request.model,
                "options": asdict(self._request.options),
                "folder": str(folder.path),
            }
            answer = self._session.ask("segment", parameters)
            result = given.bring_back(load_result(answer))
        finally:
            folder.remove()
        record = Provenance.of_report(result.report, model_ref=self._request.model, options=self._request.options)
        walk.store(result, model_id=record.model_id, run=record.time)
        return record
