"""What the panel asks of the module's logic; ``UMambaSegmentLogic`` is the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mambaseg.options import Options

from UMambaSegmentLib.engine.jobs import Job
from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.runs.run import Finished, Run
from UMambaSegmentLib.runs.service import FolderRun
from UMambaSegmentLib.settings import ComputerSettings

Ask = Callable[[str], bool]
Answer = Mapping[str, Any]
OnError = Callable[[EngineError], None]


class PanelLogic(Protocol):
    """Slicer's naming, because scripts use the same object; each method is told there."""

    def getParameterNode(self) -> Any: ...
    def settings(self) -> ComputerSettings: ...
    def missingPackages(self) -> list[str]: ...
    def installSummary(self) -> str: ...
    def installLog(self) -> str: ...
    def lookAgain(self) -> None: ...
    def ensureInstalled(self, ask: Ask) -> str: ...
    def restartIdleEngine(self) -> None: ...
    def cancelJob(self, job: Job) -> None: ...
    def volumesToTable(self, finished: Finished) -> Any: ...
    def editInSegmentEditor(self, segmentationNode: Any, volumeNode: Any) -> None: ...
    def findDevices(self, done: Callable[[Sequence[Answer]], None], failed: OnError) -> Job: ...
    def diagnose(self, done: Callable[[str], None], failed: OnError) -> Job: ...

    def askEngine(
        self,
        request: str,
        parameters: Answer,
        done: Callable[[Answer], None],
        failed: OnError,
        progress: Callable[[Answer], None] | None = None,
    ) -> Job: ...

    def startForecast(
        self,
        nodes: Sequence[Any],
        region: Any,
        model: str,
        options: Options,
        done: Callable[[Answer], None],
        failed: OnError,
    ) -> Job: ...

    def startRun(
        self,
        nodes: Sequence[Any],
        model: str,
        options: Options,
        *,
        output: Any = None,
        region: Any = None,
        askReplace: Ask | None = None,
        **listeners: Callable[..., None],
    ) -> Run: ...

    def startReproduce(self, segmentationNode: Any, **listeners: Callable[..., None]) -> Run: ...

    def startFolder(
        self,
        inputFolder: str,
        outputFolder: str,
        model: str,
        options: Options,
        *,
        resume: bool,
        onProgress: Callable[[Answer], None],
        onFinished: Callable[[Answer], None],
        onFailed: Callable[[Exception], None],
        onCancelled: Callable[[], None],
    ) -> FolderRun: ...
