"""Messages to lines and back. A request is held to its fields strictly; an event may bring more than is known here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mambaseg.worker.messages import (
    EVENTS,
    PROTOCOL_VERSION,
    REQUESTS,
    AnyRequest,
    Event,
    ProtocolError,
    ResultEvent,
    VolumeRef,
)

_Kind = TypeVar("_Kind")
_Read = Callable[[Any], Any]
_ENVELOPE = ("request", "id", "protocol")


def encode(message: AnyRequest | Event) -> bytes:
    """Make the line for a message: ASCII, with its line end.

    Raises
    ------
    ValueError, TypeError
        If a value is no JSON (NaN and infinity are none).
    """
    tag = (
        {"request": message.name, "protocol": PROTOCOL_VERSION} if message.name in REQUESTS else {"event": message.name}
    )
    body = {item.name: getattr(message, item.name) for item in fields(message)}
    if isinstance(message, ResultEvent):
        body.update(body.pop("values"))
    text = json.dumps({**tag, **body}, default=_plain, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, VolumeRef):
        return value.to_json()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def decode_request(line: bytes) -> AnyRequest:
    """Read a request.

    Raises
    ------
    ProtocolError
        If the line is no request, or of another version of the protocol.
    """
    value = _object(line)
    number = value.get("id")
    known = number if isinstance(number, int) and not isinstance(number, bool) else None
    version = value.get("protocol", PROTOCOL_VERSION)
    if version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"The request speaks version {version!r} of the protocol, but this engine speaks version "
            f"{PROTOCOL_VERSION}. Update the extension and the engine together.",
            known,
        )
    name = value.get("request")
    kind = REQUESTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"There is no request {name!r}. Known: {', '.join(REQUESTS)}.", known)
    own = {item.name for item in fields(kind)}
    unknown = [key for key in value if key not in own and key not in _ENVELOPE]
    if unknown:
        raise ProtocolError(f"The request '{name}' knows no {unknown[0]!r}. It takes: {', '.join(sorted(own))}.", known)
    try:
        return _build(kind, value)
    except ProtocolError as error:
        raise ProtocolError(f"The request '{name}' is wrong: {error}", known) from error


def decode_event(line: bytes) -> Event:
    """Read an event; fields that are not known here are left out.

    Raises
    ------
    ProtocolError
        If the line is no event.
    """
    value = _object(line)
    name = value.get("event")
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"There is no event {name!r}. Known: {', '.join(EVENTS)}.")
    if kind is ResultEvent:
        value["values"] = {key: item for key, item in value.items() if key not in ("event", "id")}
    return _build(kind, value)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        shown = line[:80].decode("utf-8", "replace")
        raise ProtocolError(f"A line is no JSON ({error}): {shown!r}. Send one JSON object a line.") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"A line is no JSON object but {type(value).__name__}. Send one JSON object a line.")
    return value


def _build(kind: type[_Kind], value: Mapping[str, Any]) -> _Kind:
    arguments: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]  # every kind of message is a dataclass
        if item.name in value:
            optional = "None" in str(item.type)
            given = value[item.name]
            try:
                arguments[item.name] = None if given is None and optional else _READERS[item.name](given)
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"'{item.name}' is {given!r}, but it must be {error}.") from error
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ProtocolError(f"it lacks '{item.name}'.")
    return kind(**arguments)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError("a number")
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object")
    return value


def _several(read: Callable[[Any], _Kind], wanted: str, count: int | None = None) -> Callable[[Any], tuple[_Kind, ...]]:
    def several(value: Any) -> tuple[_Kind, ...]:
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise TypeError(wanted)
        return tuple(read(item) for item in value)

    return several


def _volume(value: Any) -> VolumeRef:
    given = _mapping(value)
    unknown = set(given) - {item.name for item in fields(VolumeRef)}
    if unknown:
        raise ValueError(f"an image without {min(unknown)!r}")
    return _build(VolumeRef, given)


def _inputs(value: Any) -> Any:
    if isinstance(value, str):
        return value
    wanted = "a folder, or a list of paths or of lists of paths"
    return _several(
        lambda item: _several(_text, wanted)(item) if isinstance(item, list) else _text(item), wanted
    )(value)  # fmt: skip


# A field's name means the same in every message.
_READERS: Mapping[str, _Read] = {
    **dict.fromkeys(
        ("id", "target", "busy", "protocol", "pid", "done", "total", "index", "count", "components"), _whole
    ),
    **dict.fromkeys(
        ("model", "path", "folder", "output", "format", "orientation", "voxels", "source", "engine", "python"), _text
    ),
    **dict.fromkeys(("executable", "stage", "case", "kind", "message", "traceback", "reason"), _text),
    **dict.fromkeys(("replace", "resume", "is_2d"), _truth),
    **dict.fromkeys(("seconds", "seconds_left"), _number),
    **dict.fromkeys(("options", "values", "outcome"), _mapping),
    "volumes": _several(_volume, "a list of images"),
    "inputs": _inputs,
    "shape": _several(_whole, "a list of sizes"),
    "spacing": _several(_number, "three numbers", 3),
    "origin": _several(_number, "three numbers", 3),
    "direction": _several(_number, "nine numbers", 9),
}
