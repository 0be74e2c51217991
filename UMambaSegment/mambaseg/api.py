"""The public functions of a single run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mambaseg.options import Options

if TYPE_CHECKING:
    from mambaseg.inference.forecast import Forecast
    from mambaseg.inference.kept import NetworkCache
    from mambaseg.inference.progress import Cancel, ProgressCallback
    from mambaseg.memory import MemoryProbe
    from mambaseg.models.model import Model
    from mambaseg.result import Result
    from mambaseg.volume import Volume


def _as_list(volume: Volume | Sequence[Volume]) -> list[Volume]:
    from mambaseg.errors import InputError
    from mambaseg.volume import Volume

    if isinstance(volume, Volume):
        return [volume]
    given = list(volume) if isinstance(volume, Iterable) else [volume]
    for one in given:
        if not isinstance(one, Volume):
            raise InputError(
                f"The image must be a Volume, or a list of them with one per channel, not {type(one).__name__}. "
                "Read a file with read_volume, or wrap an array in Volume."
            )
    return given


def segment(
    volume: Volume | Sequence[Volume],
    model: Model | str,
    options: Options | None = None,
    progress: ProgressCallback | None = None,
    cancel: Cancel | Callable[[], bool] | None = None,
    networks: NetworkCache | None = None,
) -> Result:
    """Segment an image.

    Parameters
    ----------
    volume
        The image, or one per input channel in the model's order.
    model
        From `load_model`, or anything that it takes.
    options
        Choices; the defaults if None.
    progress
        Called with a `Progress` now and then, from this thread.
    cancel
        ``threading.Event``-like flag or function; looked at before each tile, layer and slab.
    networks
        Where networks are kept for the next run of the same model, so that it need not build them again.

    Returns
    -------
    Result
        Labels on the input's grid, segments, and the report of what ran.

    Raises
    ------
    InputError, OptionError, ModelError, ResourceError
        In a sentence each.
    Cancelled
        If it was stopped.
    """
    from mambaseg.inference.pipeline import Run
    from mambaseg.inference.progress import Reporter
    from mambaseg.models import load_model

    loaded = load_model(model)
    return Run(loaded, options or Options(), Reporter(progress, cancel), networks)(_as_list(volume))


def forecast(
    volume: Volume | Sequence[Volume],
    model: Model | str,
    options: Options | None = None,
    memory: MemoryProbe | None = None,
    networks: NetworkCache | None = None,
) -> Forecast:
    """Say what a run would need: memory on device and host, time, and what it will do if that does not fit.

    Parameters
    ----------
    volume, model, options
        As for `segment`.
    memory
        Where free memory is asked for; the system if None.
    networks
        Those that the run will be given.
    """
    from mambaseg.inference.forecast import make_forecast
    from mambaseg.models import load_model

    return make_forecast(_as_list(volume), load_model(model), options or Options(), memory, networks)
