"""What a process loads when it first computes: kernels, threads and libraries, which later runs find there."""

from __future__ import annotations

_BYTES = {2: 180_000_000, 3: 280_000_000}  # by the dimensions of the convolutions
_computed: set[int] = set()


def note_computed(spatial_dims: int) -> None:
    """Say that a network of these dimensions ran in this process."""
    _computed.add(spatial_dims)


def first_run_bytes(spatial_dims: int) -> int:
    """Bytes that the next run of such a network loads beside its own data: none if one ran before."""
    return 0 if spatial_dims in _computed else _BYTES[spatial_dims]
