"""Finding a trainer class by its name."""

from __future__ import annotations

from typing import Any

from mambaseg_train.errors import RunError
from mambaseg_train.nnunet import trainers_folder


def load_trainer(name: str) -> Any:
    """Give a trainer class: one of ours, or else one that nnU-Net finds.

    nnU-Net's own search imports every trainer that it brings before it looks into ``nnUNet_extTrainer``, and some of
    them need libraries (timm, torchvision) that not every installation has whole. Ours are looked for first.

    Raises
    ------
    RunError
        If there is none of that name.
    """
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = str(trainers_folder())
    found = recursive_find_python_class(folder, name, None, base_folder=folder, cleanup_imports_from_base_folder=True)
    if found is not None:
        return found
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise RunError(
            f"There is no trainer '{name}', neither in '{folder}' nor where nnU-Net looks ({error}). "
            "Leave --trainer out for the one of the network's paper."
        ) from error
