"""The whole way on one image: forecast, segmentation, a picture, a table of volumes; on the phantom, Dice too."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.errors import OutputError
from mambaseg.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mambaseg.inference.progress import ProgressCallback
    from mambaseg.phantom import Phantom
    from mambaseg.result import Result
    from mambaseg.volume import Volume


@dataclass(frozen=True)
class Demonstration:
    """What came out: volumes (ml), on the phantom also the true volumes and Dice, and the files written."""

    volumes_ml: Mapping[str, float]
    true_ml: Mapping[str, float] = field(default_factory=dict)
    dice: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def rows(self) -> list[tuple[str, ...]]:
        """The table, its head first."""
        if not self.dice:
            return [("structure", "ml"), *((name, f"{volume:.2f}") for name, volume in self.volumes_ml.items())]
        return [
            ("structure", "ml", "true ml", "Dice"),
            *(
                (
                    name,
                    f"{volume:.2f}",
                    f"{self.true_ml[name]:.2f}" if name in self.true_ml else "",
                    f"{self.dice[name]:.3f}" if name in self.dice else "",
                )
                for name, volume in self.volumes_ml.items()
            ),
        ]


def truth(phantom: Phantom) -> Result:
    """The phantom's true labels, named and coloured."""
    from mambaseg.models.structures import make_labels
    from mambaseg.result import Result

    return Result(phantom.labels, make_labels(phantom.names), phantom.volume.geometry)


def dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Overlap of two masks: 1 is the same, 0 is none; two empty masks are the same."""
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def run_demo(
    folder: Path,
    image: Path | None,
    model: str,
    options: Options,
    *,
    seed: int = 2024,
    say: Callable[[str], None],
    progress: ProgressCallback | None = None,
) -> Demonstration:
    """Segment an image, or the phantom, and write everything a person wants to see.

    Parameters
    ----------
    folder
        Gets ``segmentation.seg.nrrd``, ``segmentation.nii.gz``, ``slices.png``, ``volumes.csv``; for the phantom also
        ``ct.nii.gz``.
    image
        What `read_volume` reads; the phantom if None.
    model
        What `load_model` takes.
    options
        For the run.
    seed
        Of the phantom.
    say
        Told what happens, a sentence at a time.
    progress
        Of the run.
    """
    from mambaseg.api import forecast, segment
    from mambaseg.io import check_writable, read_volume, write_segmentation, write_volume
    from mambaseg.models import load_model
    from mambaseg.phantom import make_phantom

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder '{folder}' cannot be made ({error.strerror}). Choose another.") from error
    outputs = (folder / "segmentation.seg.nrrd", folder / "segmentation.nii.gz")
    for path in outputs:
        check_writable(path, is_2d=False)
    loaded = load_model(model)
    phantom = None if image is not None else make_phantom(seed=seed)
    files: list[Path] = []
    if image is not None:
        volume = read_volume(image)
    elif phantom is not None:
        volume = phantom.volume
        files.append(folder / "ct.nii.gz")
        write_volume(volume.voxels, volume.geometry, files[0])
    say(f"Image: {_image_line(volume)}")
    say(f"Model: {loaded.spec.title}")
    say(forecast(volume, loaded, options).sentence())
    result = segment(volume, loaded, options, progress)
    for path in outputs:
        write_segmentation(result, path)
    shown = compare(result, phantom)
    files += [*outputs, folder / "slices.png", folder / "volumes.csv"]
    _draw(files[-2], volume, result, shown, loaded.spec.title, modality=loaded.spec.channels[0].modality)
    _write_table(files[-1], shown)
    return Demonstration(shown.volumes_ml, shown.true_ml, shown.dice, tuple(files))


def compare(result: Result, phantom: Phantom | None) -> Demonstration:
    """Volumes, and where the truth is known, how well it was met (structures of the same name, however spaced)."""
    volumes = result.volumes_ml()
    if phantom is None:
        return Demonstration(volumes)
    true = truth(phantom)
    values = {_readable(label.name): label.value for label in true.segments}
    true_ml = {_readable(name): volume for name, volume in true.volumes_ml().items()}
    known = [segment for segment in result.segments if _readable(segment.name) in values]
    scores = {
        segment.name: dice(result.labels == segment.value, true.labels == values[_readable(segment.name)])
        for segment in known
    }
    return Demonstration(volumes, {each.name: true_ml[_readable(each.name)] for each in known}, scores)


def _image_line(volume: Volume) -> str:
    slices, rows, columns = volume.shape
    spacing = " x ".join(f"{value:.3g}" for value in volume.geometry.spacing)
    return f"{volume.source or 'image'}, {columns} x {rows} x {slices} voxels of {spacing} mm"


def _draw(place: Path, volume: Volume, result: Result, shown: Demonstration, title: str, *, modality: str) -> None:
    from mambaseg.render import LegendEntry, draw_figure, save_png

    def note(name: str) -> str:
        volume_text = f"{shown.volumes_ml[name]:.1f} ml"
        return f"{volume_text}  Dice {shown.dice[name]:.2f}" if name in shown.dice else volume_text

    legend = [LegendEntry(_readable(s.name), s.value, s.color, note(s.name)) for s in result.segments]
    report: Mapping[str, Any] = result.report
    subtitle = (
        f"{_image_line(volume)}  ·  {report['model']['network']}  ·  "
        f"{report['timings_s'].get('total', 0):.1f} s on {report['device']['name']}"
    )
    save_png(place, draw_figure(volume, result.labels, legend, title, subtitle, ct=modality.upper() == "CT"))


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _write_table(place: Path, shown: Demonstration) -> None:
    from mambaseg.io.files import replacing

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(shown.rows())
    with replacing(place, place.suffix) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


if __name__ == "__main__":
    from mambaseg.cli import main

    sys.exit(main(["demo", *sys.argv[1:]]))
