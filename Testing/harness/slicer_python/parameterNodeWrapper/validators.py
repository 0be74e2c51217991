"""What a parameter's value must be like; each raises where it is not."""

from __future__ import annotations

import abc
from typing import Any


class Validator(abc.ABC):
    """Base of all validators."""

    @abc.abstractmethod
    def validate(self, value: Any) -> None:
        """Raise where the value is refused."""


def extractValidators(annotations: Any) -> tuple[list[Validator], list[Any]]:
    """Part a parameter's annotations into validators and the rest."""
    validators = [annotation for annotation in annotations if isinstance(annotation, Validator)]
    return validators, [annotation for annotation in annotations if not isinstance(annotation, Validator)]


class IsNone(Validator):
    """Nothing but None."""

    def validate(self, value: Any) -> None:
        """Refuse anything else."""
        if value is not None:
            raise ValueError("Value must be None")


class NotNone(Validator):
    """Anything but None."""

    def validate(self, value: Any) -> None:
        """Refuse None."""
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """None, or an instance of a class."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        """Refuse other types."""
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'")


class WithinRange(Validator):
    """Between two numbers, both allowed."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        """Refuse what lies outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """At least a number."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        """Refuse what is less."""
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    """At most a number."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        """Refuse what is more."""
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    """One of a list."""

    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        """Refuse what is not in it."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Exclude(Validator):
    """None of a list."""

    def __init__(self, excludedValues: Any) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        """Refuse what is in it."""
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must not be an excluded value: {self.excludedValues}")
