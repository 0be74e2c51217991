"""Sharing work among threads that use one core each.

torch splits every operation among its own threads and waits for the slowest, which takes a hundred times as long where
another program holds a core; and how it splits a product of matrices shows in how that is rounded. Tasks whose sizes do
not depend on the number of threads give the same numbers with any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch


def share_out(tasks: Sequence[Callable[[], None]], workers: int, finished: Callable[[int], None] | None = None) -> None:
    """Run tasks that do not depend on each other.

    Parameters
    ----------
    tasks
        What to run; what one raises ends those that have not begun, and is raised here.
    workers
        How many threads, torch's number here; with one, or one task, the tasks run here.
    finished
        Told how many have ended, in this thread; what it raises ends the rest too.
    """
    tell = finished or _nobody
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def run(task: Callable[[], None]) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):  # a thread begins with its own
            task()

    try:
        if min(workers, len(tasks)) < 2:
            if workers > 1:
                torch.set_num_threads(1)
            for done, task in enumerate(tasks, start=1):
                task()
                tell(done)
            return
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            pending = [pool.submit(run, task) for task in tasks]
            try:
                for done, ended in enumerate(as_completed(pending), start=1):
                    ended.result()
                    tell(done)
            finally:
                for future in pending:
                    future.cancel()
    finally:
        if workers > 1:
            torch.set_num_threads(workers)  # the threads' own setting is also what later threads would begin with


def _nobody(_done: int) -> None:
    pass
