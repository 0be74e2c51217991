"""The bundled models: data, network, sizes, budget, and what a person must know of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mambaseg_train.demo.tasks import Task
from mambaseg_train.errors import RunError

_BUDGET_NOTE = (
    "A small model, trained on a CPU: it shows what the method does in that time, not what it can do. "
    "Larger ones, trained on a GPU, are to take its place."
)

_LATER_STUDY = (
    "Beside that comparison stands what nnU-Net's authors measured at full size (percent Dice on BTCV, ACDC, LiTS, "
    "BraTS, KiTS, AMOS; Isensee et al., arXiv 2404.09556, and their resenc_presets.md; not disinterested): without "
    "Mamba 83.69, 91.89, 80.57, 91.26, 85.98, 89.04; U-Mamba Bot 83.51, 91.79, 80.40, 91.26, 86.22, 89.13; U-Mamba Enc "
    "82.41, 91.22, 80.27, 90.91, 86.34, 88.38. The README has more."
)


@dataclass(frozen=True)
class Bundled:
    """One model.

    Attributes
    ----------
    id, title, text, family
        As the list of models shows them.
    task
        Data, network, sizes and budget.
    orientation
        As of ``export``.
    notes
        Sentences for the card: what it is for, and where it fails.
    comparison
        The comparison of networks that the choice was made by, a folder of docs/comparison; empty for none.
    """

    id: str
    title: str
    text: str
    family: str
    task: Task
    orientation: str
    notes: tuple[str, ...]
    comparison: str = ""


_OWN_CASES = (
    "That comparison was judged by the same test cases as the figures on this card, so they may flatter the choice a "
    "little; its seconds a step were taken while other trainings shared the cores."
)
_SETTINGS = {"--set optimizer=adamw": "", "--set schedule=poly": "", "--set bfloat16=true": ""}

_HEAD_NECK = Bundled(
    "ct-head-neck",
    "Head and neck, CT: organs at risk",
    "Brainstem, spinal cord, both parotids, oesophagus, larynx and mandible in CT of the head and neck, for research "
    "in radiotherapy planning.",
    "Head and neck, CT",
    Task(
        "ct-head-neck",
        "organs at risk in head and neck CT (3D)",
        "ct_head_neck_3d",
        908,
        "CTHeadNeck",
        "openkbp",
        "umamba_bot",
        "3d_fullres",
        {
            "--features": "12",
            "--max-features": "96",
            "--blocks": "1",
            "--max-patch": "64",
            "--batch": "2",
            "--spacing": "3 3.9 3.9",
        },
        {
            "--epochs": "140",
            "--iterations": "50",
            "--validation-iterations": "1",
            "--lr": "0.003",
            **_SETTINGS,
            "--set restart=80": "",
            "--set mirror=left_right": "",
        },
        ("all",),  # by anatomy, not chosen by the figures
    ),
    "LPS",
    (
        _BUDGET_NOTE,
        "The network is the Mamba network with the highest Dice in the comparison under 'Networks compared'. It is one "
        "on the hippocampus in MR, as none was made on the head and neck; the control without Mamba did better there, "
        "by 0.008. Its seconds a step were taken while other trainings shared the cores.",
        "Trained on 151 planning CTs of OpenKBP whose surroundings were masked out. To them were added, making 280: "
        "81 of these patients a second time, with a simulated couch, head rest, mask, clothes and noise; 24 synthetic "
        "trunks and a slab of a real abdomen in 8 sizes (a test file of TotalSegmentator, Apache-2.0), in which there "
        "is nothing to find; 16 synthetic phantoms, so that the demonstration works.",
        "Where it fails: heads that are turned or nod by much more than the 30 degrees of training, scans that end "
        "within an organ; what each costs stands under 'Checked', and what simulated metal does. Not tried: children; "
        "patients after surgery of jaw, larynx or glands; metal in patients. Contours follow one "
        "clinical practice: the spinal cord and the oesophagus were outlined only as far as was treated, so where the "
        "model stops along them means nothing.",
        "It works at 3.9 x 3.9 x 3 mm, so borders are no finer than that, whatever the scan's voxels.",
        _LATER_STUDY,
    ),
    "hippocampus_3d",
)

_NUCLEI = Bundled(
    "cells-nuclei",
    "Nuclei in microscopy, 2D colour",
    "Interior and boundary of cell nuclei in RGB microscopy pictures, fluorescence and stained tissue.",
    "Nuclei, microscopy",
    Task(
        "cells-nuclei",
        "nuclei in microscopy (2D)",
        "nuclei_2d",
        903,
        "Nuclei",
        "nuclei",
        "umamba_bot",
        "2d",
        {"--features": "16", "--max-features": "64", "--blocks": "1", "--max-patch": "128", "--batch": "4"},
        {"--epochs": "60", "--iterations": "50", "--validation-iterations": "1", "--lr": "0.002", **_SETTINGS},
    ),
    "",
    (
        _BUDGET_NOTE,
        "The network has the highest Dice in the comparison under 'Networks compared', in which U-Mamba Enc has the "
        "higher F1 and the control without Mamba is close to both. " + _OWN_CASES,
        "Single nuclei are the connected parts of 'interior', each with its 'boundary': so they were measured.",
        "Where it fails, or was not tried: kinds of pictures that the data hold few of (stained tissue, bright field), "
        "nuclei much larger or smaller than usual, crowded nuclei whose borders cannot be seen.",
        _LATER_STUDY,
    ),
    "nuclei_2d",
)

_LEFT_VENTRICLE = Bundled(
    "mr-left-ventricle",
    "Left ventricle in cardiac MR slices, 2D",
    "Blood pool of the left ventricle in short-axis cine MR pictures of 256 x 256.",
    "Left ventricle, MR",
    Task(
        "mr-left-ventricle",
        "left ventricle in cardiac MR slices (2D)",
        "left_ventricle_2d",
        902,
        "LeftVentricle",
        "left_ventricle",
        "umamba_bot",
        "2d",
        {
            "--features": "16",
            "--max-features": "64",
            "--blocks": "1",
            "--max-patch": "128",
            "--batch": "4",
            "--spacing": "999 2 2",
        },
        {"--epochs": "60", "--iterations": "50", "--validation-iterations": "1", "--lr": "0.002", **_SETTINGS},
    ),
    "",
    (
        _BUDGET_NOTE,
        "The network has the highest Dice in the comparison under 'Networks compared', in which U-Mamba Enc has the "
        "smaller HD95 and the control without Mamba is close to both. " + _OWN_CASES,
        "Where it fails, or was not tried: slices at the apex and at the valves, where little or nothing of the "
        "ventricle is there; pictures that are not short-axis, or that show the heart at another size than pictures of "
        "the whole chest in 256 x 256.",
        _LATER_STUDY,
    ),
    "left_ventricle_2d",
)

BUNDLED: Mapping[str, Bundled] = {each.id: each for each in (_HEAD_NECK, _NUCLEI, _LEFT_VENTRICLE)}


def bundled(name: str) -> Bundled:
    """Look a model up.

    Raises
    ------
    RunError
        If there is none of that id.
    """
    if name not in BUNDLED:
        raise RunError(f"There is no bundled model '{name}'. Choose one of {', '.join(BUNDLED)}.")
    return BUNDLED[name]
