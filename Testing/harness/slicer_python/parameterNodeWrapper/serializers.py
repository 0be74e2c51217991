"""How each type is written into and read from the parameter node: as texts, and nodes as node references."""

from __future__ import annotations

import abc
import enum
import logging
import pathlib
import typing
from typing import Any

import slicer
import slicer.util

from .containers import ObservedDict, ObservedList
from .util import splitAnnotations
from .validators import IsInstance, IsNone, NotNone, Validator, extractValidators

PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath)
LOG = logging.getLogger(__name__)
PURE_PATHS = (pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)


class Serializer(abc.ABC):
    """Writes and reads values of one type under a parameter's name."""

    @abc.abstractmethod
    def default(self) -> Any:
        """Default where none is given."""

    def isIn(self, parameterNode: Any, name: str) -> bool:
        """Whether the node has the parameter."""
        return bool(parameterNode.HasParameter(name))

    @abc.abstractmethod
    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        """Write a value."""

    @abc.abstractmethod
    def read(self, parameterNode: Any, name: str) -> Any:
        """Read the value."""

    def remove(self, parameterNode: Any, name: str) -> None:
        """Take the parameter away."""
        parameterNode.UnsetParameter(name)

    def suits(self, value: Any) -> bool:
        """Whether a union may choose this for a value."""
        del value
        return True


class ValidatedSerializer(Serializer):
    """A serializer with checks before each write."""

    def __init__(self, serializer: Serializer, validators: list[Validator]) -> None:
        inner = serializer if isinstance(serializer, ValidatedSerializer) else None
        self.serializer: Serializer = inner.serializer if inner else serializer
        self.validators = [*(inner.validators if inner else []), *validators]

    def default(self) -> Any:
        return self.serializer.default()

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self.serializer.isIn(parameterNode, name)

    def validate(self, value: Any) -> None:
        """Raise where a validator refuses the value."""
        for validator in self.validators:
            validator.validate(value)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode: Any, name: str) -> None:
        self.serializer.remove(parameterNode, name)

    def suits(self, value: Any) -> bool:
        return self.serializer.suits(value)


class TextSerializer(Serializer):
    """int, float, str and paths: ``str(value)``, and the type's constructor back."""

    def __init__(self, kind: Any, default: Any) -> None:
        self._kind, self._default = kind, default

    def default(self) -> Any:
        return self._default

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        parameterNode.SetParameter(name, str(value))

    def read(self, parameterNode: Any, name: str) -> Any:
        return self._kind(parameterNode.GetParameter(name))

    def suits(self, value: Any) -> bool:
        # As in Slicer: by the value's own type, so an int does not go where only a float is allowed.
        if self._kind in (int, float, str):
            return type(value) in ((int, float) if self._kind is not str else (str,))
        return isinstance(value, pathlib.PurePath)


class BoolSerializer(Serializer):
    """bool."""

    def default(self) -> bool:
        return False

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        parameterNode.SetParameter(name, "True" if value else "False")

    def read(self, parameterNode: Any, name: str) -> bool:
        return bool(parameterNode.GetParameter(name) == "True")

    def suits(self, value: Any) -> bool:
        return type(value) is bool


class NodeSerializer(Serializer):
    """MRML nodes: a node reference with the parameter's name."""

    def default(self) -> None:
        return None

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        # The text tells that the parameter is there, as None is a value too.
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, parameterNode: Any, name: str) -> Any:
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode: Any, name: str) -> None:
        parameterNode.UnsetParameter(name)
        parameterNode.RemoveNodeReferenceIDs(name)

    def suits(self, value: Any) -> bool:
        return isinstance(value, slicer.vtkMRMLNode)


class EnumSerializer(Serializer):
    """Enumerations: the member's name."""

    def __init__(self, kind: Any) -> None:
        if len(kind) == 0:
            raise ValueError("Cannot serialize empty Enum.")
        self._kind = kind

    def default(self) -> Any:
        return next(iter(self._kind))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        parameterNode.SetParameter(name, value.name)

    def read(self, parameterNode: Any, name: str) -> Any:
        key = parameterNode.GetParameter(name)
        try:
            return self._kind[key]
        except KeyError as error:
            raise ValueError(f"Found {key!r} in parameter node but it is not a name in {self._kind!r}") from error

    def suits(self, value: Any) -> bool:
        return isinstance(value, enum.Enum)


class NoneSerializer(Serializer):
    """None, as a member of a union."""

    def default(self) -> None:
        return None

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        del value
        parameterNode.SetParameter(name, "True")

    def read(self, parameterNode: Any, name: str) -> None:
        del parameterNode, name

    def suits(self, value: Any) -> bool:
        return value is None


class TupleSerializer(Serializer):
    """Tuples: ``name.0``, ``name.1`` ..."""

    def __init__(self, serializers: list[Serializer]) -> None:
        self._serializers = serializers

    def default(self) -> Any:
        return tuple(serializer.default() for serializer in self._serializers)

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._serializers[0].isIn(parameterNode, f"{name}.0")

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        values = tuple(value)
        if len(values) != len(self._serializers):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(parameterNode):
            for index, (part, serializer) in enumerate(zip(values, self._serializers, strict=True)):
                serializer.write(parameterNode, f"{name}.{index}", part)

    def read(self, parameterNode: Any, name: str) -> tuple[Any, ...]:
        parts = enumerate(self._serializers)
        return tuple(serializer.read(parameterNode, f"{name}.{index}") for index, serializer in parts)

    def remove(self, parameterNode: Any, name: str) -> None:
        for index, serializer in enumerate(self._serializers):
            serializer.remove(parameterNode, f"{name}.{index}")

    def suits(self, value: Any) -> bool:
        return isinstance(value, tuple)


class ListSerializer(Serializer):
    """Lists: their length as ``name.len``, and ``name.0``, ``name.1`` ..."""

    def __init__(self, element: Serializer) -> None:
        self._element = element

    def default(self) -> Any:
        return []

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return bool(parameterNode.HasParameter(f"{name}.len"))

    def _length(self, parameterNode: Any, name: str) -> int:
        return int(parameterNode.GetParameter(f"{name}.len")) if self.isIn(parameterNode, name) else 0

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        values = list(value)
        with slicer.util.NodeModify(parameterNode):
            there = self.isIn(parameterNode, name)
            before = list(self.read(parameterNode, name)) if there else []
            try:
                for index, part in enumerate(values):
                    self._element.write(parameterNode, f"{name}.{index}", part)
            except Exception:
                self.remove(parameterNode, name)
                if there:
                    self.write(parameterNode, name, before)
                raise
            parameterNode.SetParameter(f"{name}.len", str(len(values)))
            for index in range(len(values), len(before)):
                self._element.remove(parameterNode, f"{name}.{index}")

    def read(self, parameterNode: Any, name: str) -> Any:
        count = self._length(parameterNode, name)
        values = [self._element.read(parameterNode, f"{name}.{index}") for index in range(count)]
        return ObservedList(parameterNode, self, name, values)

    def remove(self, parameterNode: Any, name: str) -> None:
        for index in range(self._length(parameterNode, name)):
            self._element.remove(parameterNode, f"{name}.{index}")
        parameterNode.UnsetParameter(f"{name}.len")

    def suits(self, value: Any) -> bool:
        return isinstance(value, (list, ObservedList))


class DictSerializer(Serializer):
    """Dictionaries: a list of pairs."""

    def __init__(self, key: Serializer, value: Serializer) -> None:
        self._pairs = ListSerializer(TupleSerializer([key, value]))

    def default(self) -> Any:
        return {}

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._pairs.isIn(parameterNode, name)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        self._pairs.write(parameterNode, name, value.items())

    def read(self, parameterNode: Any, name: str) -> Any:
        return ObservedDict(parameterNode, self, name, dict(self._pairs.read(parameterNode, name)))

    def remove(self, parameterNode: Any, name: str) -> None:
        self._pairs.remove(parameterNode, name)

    def suits(self, value: Any) -> bool:
        return isinstance(value, (dict, ObservedDict))


class UnionSerializer(Serializer):
    """Unions and Optional: the member that took the value, as ``name.<its index>``."""

    def __init__(self, serializers: list[ValidatedSerializer]) -> None:
        self._serializers = serializers

    def default(self) -> Any:
        second = self._serializers[1].serializer if len(self._serializers) == 2 else None
        return None if isinstance(second, NoneSerializer) else self._serializers[0].default()

    def isIn(self, parameterNode: Any, name: str) -> bool:
        members = enumerate(self._serializers)
        return any(serializer.isIn(parameterNode, f"{name}.{index}") for index, serializer in members)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        refusal: Exception = TypeError(f"Unable to write value '{value}' of type '{type(value)}'")
        for index, serializer in enumerate(self._serializers):
            if not serializer.suits(value):
                continue
            try:
                serializer.validate(value)
            except (TypeError, ValueError) as error:
                refusal = error
                continue
            with slicer.util.NodeModify(parameterNode):
                self.remove(parameterNode, name)
                serializer.write(parameterNode, f"{name}.{index}", value)
            return
        raise refusal

    def read(self, parameterNode: Any, name: str) -> Any:
        for index, serializer in enumerate(self._serializers):
            if serializer.isIn(parameterNode, f"{name}.{index}"):
                return serializer.read(parameterNode, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, parameterNode: Any, name: str) -> None:
        for index, serializer in enumerate(self._serializers):
            serializer.remove(parameterNode, f"{name}.{index}")


def createSerializer(type_: Any, annotations: list[Any]) -> tuple[ValidatedSerializer, list[Any]]:
    """Give a type's serializer with the validators among its annotations, and the other annotations."""
    validators, rest = extractValidators(annotations)
    return ValidatedSerializer(_make(type_), validators), rest


def _from_annotated(annotated: Any) -> ValidatedSerializer:
    serializer, rest = createSerializer(*splitAnnotations(annotated))
    if rest:
        LOG.warning("Unused annotations: %s", rest)
    return serializer


def _make(type_: Any) -> Serializer:
    simple = {
        bool: (BoolSerializer(), bool),
        int: (TextSerializer(int, 0), int),
        float: (TextSerializer(float, 0), (int, float)),
        str: (TextSerializer(str, ""), str),
    }
    if type_ in simple:
        serializer, accepted = simple[type_]
        return ValidatedSerializer(serializer, [NotNone(), IsInstance(accepted)])
    if type_ in (*PATHS, *PURE_PATHS):
        return ValidatedSerializer(TextSerializer(type_, type_()), [NotNone(), IsInstance(type_)])
    if type_ is type(None):
        return ValidatedSerializer(NoneSerializer(), [IsNone()])
    if isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode):
        return ValidatedSerializer(NodeSerializer(), [IsInstance(type_)])
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return ValidatedSerializer(EnumSerializer(type_), [IsInstance(type_)])
    return _make_container(type_, typing.get_origin(type_), typing.get_args(type_))


def _make_container(type_: Any, origin: Any, members: tuple[Any, ...]) -> Serializer:
    if origin is list and len(members) == 1:
        return ListSerializer(_from_annotated(members[0]))
    if origin is tuple and members and Ellipsis not in members:
        return TupleSerializer([_from_annotated(member) for member in members])
    if origin is dict and len(members) == 2:
        return DictSerializer(_from_annotated(members[0]), _from_annotated(members[1]))
    if origin is typing.Union:
        return UnionSerializer([_from_annotated(member) for member in members])
    raise TypeError(f"Unable to create serializer for type: {type_}")
