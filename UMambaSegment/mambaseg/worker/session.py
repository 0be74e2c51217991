"""One request after another: done, answered, and nothing of it left behind on the device."""

from __future__ import annotations

import logging
import sys

from mambaseg.errors import Cancelled, NotFiniteError, ResourceError
from mambaseg.worker.faults import told
from mambaseg.worker.jobs import Job, JobQueue
from mambaseg.worker.messages import CancelledEvent, ErrorEvent, ResultEvent
from mambaseg.worker.tasks import Tasks

_log = logging.getLogger(__name__)
_DROPS = (ResourceError.__name__, NotFiniteError.__name__)


class Session:
    """Works through the queue.

    Parameters
    ----------
    jobs
        What is to be done.
    tasks
        How it is done.
    idle
        Seconds without a request after which it ends; 0 for never.
    """

    def __init__(self, jobs: JobQueue, tasks: Tasks, idle: float = 0.0) -> None:
        self._jobs, self._tasks, self._idle = jobs, tasks, idle

    def serve(self) -> str:
        """Work until the queue is closed; gives the reason."""
        while (job := self._jobs.take(self._idle)) is not None:
            self._one(job)
        return self._jobs.closed

    def _one(self, job: Job) -> None:
        _log.info("Request %d: %s", job.request.id, job.request.name)
        failed = self._try(job)
        drop = False
        if isinstance(failed, ErrorEvent):
            drop = bool(failed.traceback) or failed.kind in _DROPS  # memory, or a fault that what was kept may have
            _log.info("Request %d failed: %s %s", job.request.id, failed.message, failed.traceback)
        dead = self._free_device(drop=drop)  # before the answer, which promises that the device is free
        if failed is not None:
            job.answer(failed)
        if dead is not None:
            raise dead  # nothing can be computed there any more in this process; the next one starts anew
        _log.info("Request %d is over.", job.request.id)

    def _try(self, job: Job) -> ErrorEvent | CancelledEvent | None:
        """Do it and answer; what is to be answered instead if that failed (the error and all it holds are gone)."""
        try:
            job.check()
            job.answer(ResultEvent(job.request.id, self._tasks.do(job)))
        except Cancelled:
            return CancelledEvent(job.request.id)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a worker's loop: every error is answered)
            return told(error, job.request.id)
        return None

    def _free_device(self, *, drop: bool) -> RuntimeError | None:
        """Free what nobody needs, or all; gives what a device says that a fault in it has put out of use."""
        kept = sys.modules.get("mambaseg.inference.kept")
        try:
            if drop:
                self._tasks.warm.drop()
            if kept is not None:
                kept.free_unused_memory()
        except RuntimeError as error:
            return error
        return None
