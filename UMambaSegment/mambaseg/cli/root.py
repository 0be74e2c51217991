"""The group of all commands."""

from __future__ import annotations

from mambaseg.cli.batch import batch
from mambaseg.cli.demo import demo
from mambaseg.cli.doctor import doctor
from mambaseg.cli.forecast import forecast
from mambaseg.cli.models import models
from mambaseg.cli.parameters import State, group
from mambaseg.cli.phantom import phantom
from mambaseg.cli.segment import segment

__all__ = ["State", "root"]


@group(name="mambaseg", versioned=True)
def root() -> None:
    """Segment medical images with published Mamba U-Nets, on any computer.

    Results go to files and stdout, progress and messages to stderr. The exit code is 0 only when the output is
    written whole.
    """


for _command in (segment, forecast, batch, models, doctor, phantom, demo):
    root.add_command(_command)
