"""``python -m mambaseg.worker``: the engine process."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import platform
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from mambaseg.environment import set_defaults
from mambaseg.version import VERSION
from mambaseg.worker.channel import Channel, take_pipes
from mambaseg.worker.jobs import JobQueue
from mambaseg.worker.messages import PROTOCOL_VERSION, Bye, Ready
from mambaseg.worker.watch import Ending, start_heartbeat, start_listening


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 (never) or a number of seconds")
    return value


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve requests on standard input until it closes; the process ends here.

    Parameters
    ----------
    arguments
        What stands after the program's name; those of this process if None.
    """
    parser = argparse.ArgumentParser(prog="mambaseg.worker", description="The engine process: JSON lines on pipes.")
    parser.add_argument(
        "--idle", type=_seconds, default=0.0, help="end after so many seconds without a request (0: never)"
    )
    idle: float = parser.parse_args(arguments).idle
    set_defaults()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the program that started this one
    requests, events = take_pipes()
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("mambaseg").setLevel(logging.INFO)
    jobs = JobQueue()
    ending = Ending(jobs)
    channel = Channel(events, gone=lambda: ending.begin("output closed"))
    channel.send(Ready(PROTOCOL_VERSION, VERSION, platform.python_version(), sys.executable, os.getpid()))
    start_listening(requests, jobs, channel.send, ending)
    start_heartbeat(jobs, channel.send)
    from mambaseg.worker.session import Session
    from mambaseg.worker.tasks import Tasks

    channel.send(Bye(Session(jobs, Tasks(), idle).serve()))
    sys.stderr.flush()
    # Nothing is torn down: threads of libraries, or one that waits for input, could hold the process up.
    os._exit(0)


if __name__ == "__main__":
    main()
