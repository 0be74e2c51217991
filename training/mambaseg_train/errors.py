"""The errors of training: each message is a sentence that says what happened, why, and what to do."""

from __future__ import annotations

from mambaseg.errors import MambasegError


class TrainingError(MambasegError):
    """Base of every error that training raises on purpose."""

    exit_code = 1


class DataError(TrainingError):
    """Images, labels or their description cannot be used."""

    exit_code = 2


class RecipeError(TrainingError):
    """A recipe, or the published data set it stands for, is not what it should be."""

    exit_code = 2


class PlanError(TrainingError):
    """No plan can be made, or the plan at hand does not fit what is asked."""

    exit_code = 3


class RunError(TrainingError):
    """Preprocessing or training could not be carried through."""

    exit_code = 4
