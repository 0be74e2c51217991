"""Data Science Bowl 2018 nuclei as a folder of pictures and a folder of instance numbers with the same names.

So lies the version with the community's corrections in this project's shared data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from mambaseg_train.converters.find import files_in, need_folder, need_pairs
from mambaseg_train.converters.instances import (
    TARGETS,
    InstanceClasses,
    Instances,
    Target,
    read_instances,
    target_labels,
)
from mambaseg_train.converters.layout import RGB, Case, Converter, Layout, Parameter
from mambaseg_train.converters.pieces import Picture


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find pictures and instance labels."""
    images, labels = need_folder(source / "images", "the pictures"), need_folder(source / "labels", "the labels")
    image_of, label_of = (
        {file.name[: -len(".png")]: file for file in files_in(folder, [".png"], "picture")}
        for folder in (images, labels)
    )
    cases = []
    for name in need_pairs(image_of, label_of, images, labels):
        give, file = partial(read_instances, label_of[name]), label_of[name]
        classes = InstanceClasses(give, file, cast("Target", options["target"]))
        picture = Picture(image_of[name], colour=True)
        cases.append(Case(name, (picture,), classes, name, instances=Instances(give, file)))
    return Layout(RGB, target_labels(options["target"], "nucleus"), ".png", "microscopy", tuple(cases))


CONVERTER = Converter(
    "dsb2018",
    "Data Science Bowl 2018 nuclei, instance numbers in one picture a case",
    """
images/<id>.png ...
labels/<id>.png ...   (16 bit, one number a nucleus)
""",
    read,
    (Parameter("target", "interior_boundary", "what the network learns", TARGETS),),
)
