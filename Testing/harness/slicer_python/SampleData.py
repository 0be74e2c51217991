"""Stand-in for Slicer's SampleData module: registration with its checks, and loading of what was registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SampleDataSource:
    """One registered sample."""

    sampleName: str | None = None
    sampleDescription: str | None = None
    uris: list[str] = field(default_factory=list)
    fileNames: list[Any] = field(default_factory=list)
    nodeNames: list[Any] = field(default_factory=list)
    checksums: list[Any] = field(default_factory=list)
    loadFiles: list[Any] = field(default_factory=list)
    customDownloader: Callable[[SampleDataSource], Any] | None = None
    thumbnailFileName: str | None = None
    loadFileTypes: list[Any] = field(default_factory=list)
    loadFileProperties: dict[str, Any] = field(default_factory=dict)


# category -> its samples, in the order of registration
SOURCES: dict[str, list[SampleDataSource]] = {}


def reset() -> None:
    """Forget what was registered."""
    SOURCES.clear()


def _listed(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


class SampleDataLogic:
    """Registration of samples."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[SampleDataSource], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        checksums: Any = None,
    ) -> None:
        """Register one sample.

        Raises
        ------
        ValueError
            The lists differ in length, as Slicer's own class demands they do not.
        """
        addresses = uris if isinstance(uris, list) else [uris] if uris is not None else []
        names = fileNames if isinstance(fileNames, list) else [fileNames] if fileNames is not None else []
        count = max(len(addresses), len(names), 1)
        lists = {
            "fileNames": _listed(fileNames, count),
            "nodeNames": _listed(nodeNames, count),
            "checksums": _listed(checksums, count),
            "loadFiles": _listed(loadFiles, count),
        }
        for name, values in lists.items():
            if addresses and len(values) != len(addresses):
                raise ValueError(f"All fields of sample data source must have the same length: {name}")
        for checksum in lists["checksums"]:
            if checksum and not (str(checksum).count(":") == 1 and checksum.startswith("SHA256:")):
                raise ValueError(f"checksum {checksum!r} is not of the form SHA256:<digest>")
        source = SampleDataSource(
            sampleName=sampleName,
            uris=addresses,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=_listed(loadFileType, count),
            loadFileProperties=dict(loadFileProperties or {}),
            **lists,
        )
        SOURCES.setdefault(category, []).append(source)

    @staticmethod
    def sourceForSampleName(sampleName: str) -> SampleDataSource | None:
        """The registered sample of this name."""
        return next((s for sources in SOURCES.values() for s in sources if s.sampleName == sampleName), None)

    def downloadFromSource(self, source: SampleDataSource) -> Any:
        """Get a sample: by its own function here; nothing is downloaded in tests."""
        if source.customDownloader is None:
            raise NotImplementedError("harness: samples by address are not downloaded in tests")
        return source.customDownloader(source)

    def downloadSample(self, sampleName: str) -> Any:
        """Get a sample by its name."""
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise RuntimeError(f"No sample data named {sampleName}")
        return self.downloadFromSource(source)


def downloadSample(sampleName: str) -> Any:
    """Get a sample by its name."""
    return SampleDataLogic().downloadSample(sampleName)
