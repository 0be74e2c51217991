"""Lists and dictionaries that write themselves into the parameter node when they are changed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any


class ObservedList(MutableSequence):  # type: ignore[type-arg]
    """A list parameter's value; ``+`` and ``*`` are refused, as they would make a list that nobody observes."""

    def __init__(self, parameterNode: Any, serializer: Any, name: str, values: list[Any]) -> None:
        self._parameterNode, self._serializer, self._name, self._list = parameterNode, serializer, name, values

    def _save(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._list)
        finally:
            self._list = self._serializer.read(self._parameterNode, self._name)._list

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"

    def __eq__(self, other: object) -> bool:
        return bool(self._list == (other._list if isinstance(other, ObservedList) else other))

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index: Any) -> Any:
        return self._list[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._list[index] = value
        self._save()

    def __delitem__(self, index: Any) -> None:
        del self._list[index]
        self._save()

    def insert(self, index: int, value: Any) -> None:
        """Put a value before the one at an index."""
        self._list.insert(index, value)
        self._save()

    def _refuse(self, _other: Any) -> Any:
        raise NotImplementedError("Adding or multiplying an ObservedList is not supported. However, += is supported.")

    __add__ = __radd__ = __mul__ = __rmul__ = _refuse


class ObservedDict(MutableMapping):  # type: ignore[type-arg]
    """A dictionary parameter's value."""

    def __init__(self, parameterNode: Any, serializer: Any, name: str, values: dict[Any, Any]) -> None:
        self._parameterNode, self._serializer, self._name, self._dict = parameterNode, serializer, name, values

    def _save(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._dict)
        finally:
            self._dict = self._serializer.read(self._parameterNode, self._name)._dict

    def __repr__(self) -> str:
        return f"ObservedDict({self._dict})"

    def __eq__(self, other: object) -> bool:
        return bool(self._dict == (other._dict if isinstance(other, ObservedDict) else other))

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._dict)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._dict)

    def __getitem__(self, key: Any) -> Any:
        return self._dict[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._dict[key] = value
        self._save()

    def __delitem__(self, key: Any) -> None:
        del self._dict[key]
        self._save()

    # Slicer's own class takes no default here.
    def get(self, key: Any) -> Any:  # type: ignore[override]
        """The value of a key, or None."""
        return self._dict.get(key)
