"""Types and their annotations."""

from __future__ import annotations

import typing
from typing import Annotated, Any

import slicer


def splitAnnotations(possiblyAnnotatedType: Any) -> tuple[Any, list[Any]]:
    """A type and its annotations."""
    # One more annotation makes every type an annotated one.
    actual, *annotations = typing.get_args(Annotated[possiblyAnnotatedType, None])
    return actual, list(annotations[:-1])


def unannotatedType(possiblyAnnotatedType: Any) -> Any:
    """A type without its annotations."""
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotations: Any, kind: type) -> Any:
    """The first annotation of this kind, or None."""
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)


def _isNode(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _members(datatype: Any) -> list[Any]:
    actual = unannotatedType(datatype)
    if typing.get_origin(actual) is typing.Union:
        return [unannotatedType(member) for member in typing.get_args(actual)]
    return [actual]


def isNodeOrUnionOfNodes(datatype: Any) -> bool:
    """Whether it is an MRML node type, or a union of such types and None."""
    members = _members(datatype)
    return all(_isNode(member) or member is type(None) for member in members) and any(map(_isNode, members))


def getNodeTypes(datatype: Any) -> tuple[str, ...]:
    """Names of the MRML classes in a node type or union of them."""
    if not isNodeOrUnionOfNodes(datatype):
        raise TypeError(f"Cannot handle type {datatype}")
    return tuple(member().GetClassName() for member in _members(datatype) if _isNode(member))
