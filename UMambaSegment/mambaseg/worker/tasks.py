"""What each request does with the engine; everything heavy is loaded when the first one needs it."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.options import Options
from mambaseg.worker import messages as ask
from mambaseg.worker.jobs import Job
from mambaseg.worker.warm import WarmModels

if TYPE_CHECKING:
    from mambaseg.batch import BatchProgress
    from mambaseg.inference.progress import Progress
    from mambaseg.models.catalogue import Catalogue
    from mambaseg.models.model import Model
    from mambaseg.models.store import Installed

Answer = dict[str, Any]
_NEEDED = ("numpy", "torch", "SimpleITK", "pydicom", "safetensors", "fastjsonschema")


class Tasks:
    """The requests by name, with what they keep warm.

    Parameters
    ----------
    warm
        The models that stay loaded.
    catalogue
        Gives what can be downloaded; the engine's own if None.
    """

    def __init__(self, warm: WarmModels | None = None, catalogue: Callable[[], Catalogue] | None = None) -> None:
        self.warm = warm or WarmModels()
        self._catalogue = catalogue
        self._tasks: dict[type[ask.Request], Callable[[Any, Job], Answer]] = {
            ask.SegmentRequest: self._segment,
            ask.ForecastRequest: self._forecast,
            ask.BatchRequest: self._batch,
            ask.SmokeRequest: self._smoke,
            ask.DoctorRequest: _doctor,
            ask.DevicesRequest: _devices,
            ask.ImportRequest: _import,
            ask.DownloadRequest: self._download,
            ask.RemoveRequest: _remove,
            ask.VerifyRequest: _verify,
            ask.ExportRequest: _export,
        }

    def do(self, job: Job) -> Answer:
        """Do what a request asks for and give the values of its answer.

        Raises
        ------
        Exception
            Whatever goes wrong.
        """
        return self._tasks[type(job.request)](job.request, job)

    def _model(self, ref: str, options: Options, job: Job, *, to_run: bool) -> Model:
        """The model, warm if it can be; the stage ``load`` is told only where there is something to load."""
        heart = "mambaseg.inference.pipeline"
        cold = heart not in sys.modules
        found = None if cold else self.warm.find(ref, to_run=to_run)
        if found is not None:
            return found
        job.step("load", 0, 3)
        importlib.import_module(heart)
        job.step("load", 1, 3)
        model = self.warm.load(ref, to_run=to_run)
        job.step("load", 2, 3)
        if cold:
            from mambaseg import scan
            from mambaseg.devices import choose_device

            scan.check_all(str(choose_device(options.device)))  # numba alone may take seconds to load
        job.step("load", 3, 3)
        return model

    def _segment(self, request: ask.SegmentRequest, job: Job) -> Answer:
        options = Options.from_json(request.options)
        model = self._model(request.model, options, job, to_run=True)
        from mambaseg.api import segment
        from mambaseg.worker.exchange import load_volume, save_result

        volumes = [load_volume(ref) for ref in request.volumes]
        networks = self.warm.networks()
        result = segment(volumes, model, options, _relay(job), job.cancelled, networks)
        del volumes
        return save_result(result, Path(request.folder), lambda done, total: job.step("write", done, total), job.check)

    def _forecast(self, request: ask.ForecastRequest, job: Job) -> Answer:
        options = Options.from_json(request.options)
        model = self._model(request.model, options, job, to_run=False)
        from mambaseg.api import forecast
        from mambaseg.worker.exchange import load_volume

        volumes = [load_volume(ref) for ref in request.volumes]
        return forecast(volumes, model, options, networks=self.warm.networks()).to_json()

    def _batch(self, request: ask.BatchRequest, job: Job) -> Answer:
        options = Options.from_json(request.options)
        model = self._model(request.model, options, job, to_run=True)
        from mambaseg.batch import segment_batch

        summary = segment_batch(
            request.inputs,
            request.output,
            model,
            options,
            request.resume,
            format=request.format,
            progress=_relay_batch(job),
            cancel=job.cancelled,
            networks=self.warm.networks(),
        )
        return summary.to_json()

    def _smoke(self, _request: ask.SmokeRequest, job: Job) -> Answer:
        began = time.monotonic()
        for done, name in enumerate(_NEEDED):
            job.step("load", done, len(_NEEDED))
            importlib.import_module(name)
        from mambaseg.doctor import trial_run

        job.step("load", len(_NEEDED), len(_NEEDED))
        report = trial_run(_relay(job), job.cancelled).report
        return {
            "seconds": round(time.monotonic() - began, 3),
            "device": report["device"]["name"],
            "backend": next(iter(report["scan_backends"]), ""),
            "torch": report["versions"]["torch"],
            "numba": _numba_version(),
        }

    def _download(self, request: ask.DownloadRequest, job: Job) -> Answer:
        from mambaseg.models import Store, download_model, load_catalogue

        entry = (self._catalogue or load_catalogue)().need(request.model)
        job.step("download", 0, entry.bytes)
        installed = download_model(
            entry,
            Store(),
            progress=lambda done, total: job.step("download", done, total),
            cancel=job.cancelled.is_set,
            replace=request.replace,
        )
        return _of(installed)


def _numba_version() -> str | None:
    from mambaseg import scan

    if "numba" not in scan.available_backends("cpu"):
        return None
    return str(importlib.import_module("numba").__version__)


def _relay(job: Job) -> Callable[[Progress], None]:
    return lambda at: job.tell(_progress(job, at))


def _progress(job: Job, at: Progress) -> ask.ProgressEvent:
    return ask.ProgressEvent(job.request.id, at.stage, at.done, at.total, at.seconds, at.seconds_left)


def _relay_batch(job: Job) -> Callable[[BatchProgress], None]:
    from mambaseg.batch import outcome_to_json

    def relay(at: BatchProgress) -> None:
        outcome: Mapping[str, Any] | None = None
        if at.run is not None:
            event = _progress(job, at.run)
        elif at.outcome is not None:
            event = ask.ProgressEvent(job.request.id, "write", 1, 1, at.outcome.seconds, 0.0)
            outcome = outcome_to_json(at.outcome)
        else:
            event = ask.ProgressEvent(job.request.id, "prepare", 0, 1)
        job.tell(replace(event, case=at.case, index=at.index, count=at.count, outcome=outcome))

    return relay


def _doctor(_request: ask.DoctorRequest, job: Job) -> Answer:
    job.check()
    from mambaseg.doctor import diagnose

    found = diagnose()
    return {"text": found.text(), "ok": found.ok}


def _devices(_request: ask.DevicesRequest, job: Job) -> Answer:
    job.step("load", 0, 1)
    import torch

    from mambaseg.cards import refused_cards
    from mambaseg.devices import available_devices, device_title
    from mambaseg.memory import SystemMemory, host_total

    memory = SystemMemory()

    def one(name: str) -> Answer:
        free: int | None = memory.host_free() if name == "cpu" else memory.device_free(name)
        total: int | None = None
        if name == "cpu":
            total = host_total()
        elif name.startswith("cuda"):
            total = int(torch.cuda.get_device_properties(name).total_memory)
        return {"name": name, "title": device_title(torch.device(name)), "free_bytes": free, "total_bytes": total}

    job.step("load", 1, 1)
    return {"devices": [one(name) for name in available_devices()], "refused": list(refused_cards().values())}


def _of(installed: Installed) -> Answer:
    version = "" if installed.spec is None else installed.spec.version
    return {"model": installed.id, "bytes": installed.bytes, "version": version}


def _import(request: ask.ImportRequest, job: Job) -> Answer:
    job.step("load", 0, 1)
    from mambaseg.models import install

    return _of(install(request.path, replace=request.replace, orientation=request.orientation))


def _remove(request: ask.RemoveRequest, job: Job) -> Answer:
    job.check()
    from mambaseg.models import Store, remove_model

    found = Store().find(request.model)
    freed = remove_model(request.model)
    return {"model": request.model, "bytes": freed, "version": found.spec.version if found and found.spec else ""}


def _verify(request: ask.VerifyRequest, job: Job) -> Answer:
    job.step("load", 0, 1)
    from mambaseg.models import open_package

    package = open_package(request.model)
    package.verify()
    size = sum(entry.bytes for entry in package.spec.weights)
    return {"model": package.spec.id, "bytes": size, "version": package.spec.version}


def _export(request: ask.ExportRequest, job: Job) -> Answer:
    job.step("write", 0, 1)
    from mambaseg.models import open_package
    from mambaseg.models.package import copy_package

    package, place = open_package(request.model), Path(request.path)
    copy_package(package, place, overwrite=request.replace)
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return {"model": package.spec.id, "bytes": size, "version": package.spec.version}
