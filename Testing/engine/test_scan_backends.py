"""Backends: choice, self-check, the published kernel's adapter, threads and forks."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import make_arguments, run, run_python
from mambaseg import scan
from mambaseg.scan import registry
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import scan_reference
from mambaseg.scan.upstream import UpstreamBackend


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_an_installed_numba_is_used() -> None:
    """Other tests skip where numba does not work; where it is installed, that is a fault of ours."""
    check = next(check for check in scan.check_all("cpu") if check.name == "numba")
    assert check.usable, check.reason


def test_a_scan_leaves_torchs_thread_count_alone() -> None:
    """numba and torch may share one OpenMP, in which a number set for one is set for both."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        run(make_arguments(1, 16, 100), "numba")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_first_scan_of_a_process_leaves_torchs_thread_count_alone() -> None:
    code = "import torch; torch.set_num_threads(1); from mambaseg import scan; scan.available_backends('cpu'); "
    done = run_python(code + "raise SystemExit(torch.get_num_threads())")
    assert done.returncode == 1, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_scans_without_numba() -> None:
    code = """
import os, sys, torch
from mambaseg import scan
torch.set_num_threads(1)
u = torch.ones(1, 16, 30)
A, B = -torch.ones(16, 4), torch.ones(1, 4, 30)
want = scan.selective_scan(u, u, A, B, B)
child = os.fork()
if child == 0:
    same = torch.allclose(scan.selective_scan(u, u, A, B, B), want)
    os._exit(0 if same and "numba" not in scan.available_backends("cpu") else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_published_kernel_may_be_named_on_any_device(tmp_path: Path) -> None:
    """A stand-in package with the published name and signature: found, self-checked and run when it is asked for."""
    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    (tmp_path / "mamba_ssm" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "selective_scan_interface.py").write_text(
        """
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import scan_reference
def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                      return_last_state=False):
    y, last = scan_reference(ScanProblem(u, delta, A, B, C, D, z, delta_bias, delta_softplus))
    return (y, last) if return_last_state else y
"""
    )
    code = f"""
import sys, torch
sys.path.insert(0, {str(tmp_path)!r})
from mambaseg import scan
u = torch.rand(1, 8, 9)
arguments = (u, u, -torch.rand(8, 4), torch.rand(1, 4, 9), torch.rand(1, 4, 9))
with scan.record_backends() as used:
    y = scan.selective_scan(*arguments, backend="mamba_ssm")
assert dict(used) == {{"mamba_ssm": 1}}
assert torch.allclose(y, scan.selective_scan(*arguments, backend="reference"), atol=1e-6)
assert "mamba_ssm" not in scan.available_backends("cpu")
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_several_threads_may_scan_at_once() -> None:
    """numba's default threading layer aborts the process when two threads enter it, so this is a process apart."""
    code = """
import threading, torch
from mambaseg import scan
torch.manual_seed(0)
u, d = torch.randn(1, 64, 4000), torch.randn(1, 64, 4000)
A, B = -torch.rand(64, 16), torch.randn(1, 16, 4000)
want = scan.selective_scan(u, d, A, B, B, delta_softplus=True)
assert torch.isfinite(want).all()
wrong = []
def work():
    for _ in range(10):
        if not torch.equal(scan.selective_scan(u, d, A, B, B, delta_softplus=True), want):
            wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
raise SystemExit(len(wrong))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


class Published:
    """A stand-in of ``selective_scan_fn``'s signature, faulty where asked."""

    def __init__(self, factor: float = 1.0, fault: Exception | None = None) -> None:
        self.factor = factor
        self.fault = fault

    def __call__(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None,
        z: Tensor | None = None, delta_bias: Tensor | None = None, delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:  # fmt: skip
        if self.fault is not None:
            raise self.fault
        assert all(tensor.is_contiguous() for tensor in (u, delta, A, B, C))
        assert B.dim() == 4
        y, last = scan_reference(ScanProblem(u, delta, A, B, C, D, z, delta_bias, delta_softplus))
        return (y * self.factor, last) if return_last_state else y * self.factor


def entry(kernel: Published) -> registry.BackendEntry:
    return registry.BackendEntry("stand-in", lambda: UpstreamBackend(kernel), ("cpu",), takes_start=False)


def test_the_adapter_for_the_published_kernel_passes_its_self_check() -> None:
    check = registry.check_backend(entry(Published()), "cpu")
    assert check.usable
    assert check.error is not None
    assert check.error < 1e-6


def test_a_kernel_that_computes_wrongly_is_found_out() -> None:
    check = registry.check_backend(entry(Published(factor=1.01)), "cpu")
    assert not check.usable
    assert "off by" in check.reason


def test_a_kernel_that_gives_nan_is_found_out() -> None:
    assert not registry.check_backend(entry(Published(factor=float("nan"))), "cpu").usable


def test_a_last_state_of_nan_alone_is_found_out() -> None:
    def half_wrong(problem: ScanProblem) -> tuple[Tensor, Tensor]:
        y, last = scan_reference(problem)
        return y, last * float("nan")

    assert not registry.check_backend(registry.BackendEntry("stand-in", lambda: half_wrong, ("cpu",)), "cpu").usable


def test_a_kernel_that_raises_is_reported_with_its_own_words() -> None:
    fault = RuntimeError("rebuild with MAMBA_KEEP_CUDA_BUILD")
    check = registry.check_backend(entry(Published(fault=fault)), "cpu")
    assert not check.usable
    assert "MAMBA_KEEP_CUDA_BUILD" in check.reason


def test_a_package_that_is_absent_is_reported_as_not_installed() -> None:
    missing = registry.BackendEntry("absent", lambda: __import__("no_such_package_at_all"), ("cpu",))
    check = registry.check_backend(missing, "cpu")
    assert not check.usable
    assert "not installed" in check.reason


def test_without_numba_the_torch_backend_runs(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('numba is broken here')\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from mambaseg import scan
print(scan.available_backends("cpu"))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "('torch', 'reference')"


def test_the_lock_does_not_outlive_an_error() -> None:
    """A failing call must not leave the kernel's lock taken."""
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    arguments = make_arguments(1, 8, 5)
    with pytest.raises(ValueError, match="float32"):
        scan.selective_scan(**make_arguments(1, 8, 5, dtype=torch.float64), backend="numba")
    worker = threading.Thread(target=lambda: scan.selective_scan(**arguments, backend="numba"), daemon=True)
    worker.start()
    worker.join(timeout=60)
    assert not worker.is_alive()
