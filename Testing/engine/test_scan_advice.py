"""A card that scans the slow way says why."""

from __future__ import annotations

from mambaseg.scan.advice import slow_scan_notes
from mambaseg.scan.registry import BackendCheck

MISSING = BackendCheck("triton", "cuda:0", usable=False, reason="is not installed (No module named 'triton')")


def test_a_card_without_triton_says_so_once_and_how_to_get_it():
    (linux,) = slow_scan_notes({"torch": 9}, [MISSING], "linux")
    assert linux == (
        "The scan ran on cuda:0 by PyTorch's own operations, because the faster Triton is not installed "
        "(No module named 'triton')."
    )
    (windows,) = slow_scan_notes({"torch": 9}, [MISSING], "win32")
    assert "pip install triton-windows" in windows


def test_nothing_is_said_where_triton_runs_or_has_no_part():
    works = BackendCheck("triton", "cuda:0", usable=True, reason="passed its self-check")
    assert slow_scan_notes({"torch": 1}, [works]) == []
    assert slow_scan_notes({"mamba_ssm": 1}, [MISSING]) == []
    assert slow_scan_notes({"numba": 4}, [BackendCheck("numba", "cpu", usable=True, reason="passed")]) == []
