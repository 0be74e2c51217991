"""Contracts of the scan beyond the published numbers: shapes, layouts, types, lengths, threads, and the choice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from mambaseg import scan
from mambaseg.scan import registry
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import scan_reference
from mambaseg.scan.upstream import UpstreamBackend
from torch import Tensor

FAST = ("torch", "numba")
ENGINE = Path(scan.__file__).resolve().parents[2]


def make_arguments(
    batch: int,
    dim: int,
    length: int,
    state: int = 16,
    groups: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": draw(batch, dim, length),
        "delta": draw(batch, dim, length),
        "A": -torch.exp(draw(dim, state)),
        "B": draw(batch, groups, state, length),
        "C": draw(batch, groups, state, length),
        "D": draw(dim),
        "z": draw(batch, dim, length),
        "delta_bias": draw(dim),
        "delta_softplus": True,
    }


def run(arguments: dict[str, Any], backend: str) -> tuple[Tensor, Tensor]:
    if backend not in scan.available_backends("cpu"):
        pytest.skip(f"the scan backend {backend} does not work on this machine")
    answer = scan.selective_scan(**arguments, return_last_state=True, backend=backend)
    assert isinstance(answer, tuple)
    return answer


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with the engine on its path."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ENGINE, capture_output=True, text=True, timeout=240, check=False
    )


def assert_same(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    scale = float(wanted.abs().max()) if wanted.numel() else 1.0
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() if wanted.numel() else 0.0) <= tolerance * max(scale, 1e-30)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("batch", "dim", "length", "state", "groups"),
    [
        (1, 1, 1, 1, 1),
        (1, 17, 31, 3, 1),
        (2, 34, 257, 5, 2),
        (3, 12, 64, 16, 4),
        (1, 40, 1009, 33, 1),
        (1, 16, 65, 64, 1),
    ],
)
def test_odd_sizes_agree_with_the_reference(
    backend: str, batch: int, dim: int, length: int, state: int, groups: int
) -> None:
    arguments = make_arguments(batch, dim, length, state, groups)
    for found, wanted in zip(run(arguments, backend), run(arguments, "reference"), strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("backend", FAST)
def test_a_long_sequence_equals_its_halves(backend: str) -> None:
    """Physics of the recurrence: with a step of zero in between, the second half starts from the first one's state.

    The scan of the whole is compared with a run of the tail alone plus the decayed state, on 100,000 tokens.
    """
    length, cut = 100_000, 50_000
    arguments = make_arguments(1, 4, length, 8)
    arguments |= {"D": None, "z": None}
    whole, last = run(arguments, backend)

    def part(first: int, end: int) -> dict[str, Any]:
        cut_keys = ("u", "delta", "B", "C")
        return arguments | {key: arguments[key][..., first:end] for key in cut_keys}

    head, state = run(part(0, cut), backend)
    tail, tail_state = run(part(cut, length), backend)
    step = torch.nn.functional.softplus(arguments["delta"][..., cut:] + arguments["delta_bias"][:, None])
    decay = torch.exp(step.cumsum(-1)[..., :200, None] * arguments["A"][:, None])
    carried = (decay * state[:, :, None] * arguments["C"][:, 0, :, cut : cut + 200].transpose(1, 2)[:, None]).sum(-1)
    assert_same(whole[..., :cut], head)
    assert_same(whole[..., cut : cut + 200], tail[..., :200] + carried, 2e-5)
    assert_same(last, tail_state, 1e-4)


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_empty_inputs_give_empty_outputs(backend: str, shape: tuple[int, int, int]) -> None:
    batch, dim, length = shape
    y, last = run(make_arguments(batch, dim, length), backend)
    assert y.shape == shape
    assert last.shape == (batch, dim, 16)
    assert float(last.abs().sum()) == 0.0


@pytest.mark.parametrize("backend", FAST)
def test_no_state_leaves_skip_and_gate(backend: str) -> None:
    arguments = make_arguments(2, 4, 9, state=0)
    y, _ = run(arguments, backend)
    assert_same(y, arguments["D"][:, None] * arguments["u"] * torch.nn.functional.silu(arguments["z"]))


@pytest.mark.parametrize("backend", FAST)
def test_strided_inputs_are_read_right_and_left_alone(backend: str) -> None:
    arguments = make_arguments(2, 20, 50)
    strided = dict(arguments)
    for key in ("u", "delta", "z"):
        strided[key] = arguments[key].transpose(1, 2).contiguous().transpose(1, 2)
    strided["B"] = arguments["B"].flip(-1).flip(-1)[..., ::1]
    strided["A"] = arguments["A"].t().contiguous().t()
    before = {key: value.clone() for key, value in strided.items() if isinstance(value, Tensor)}
    assert_same(run(strided, backend)[0], run(arguments, "reference")[0])
    for key, value in before.items():
        assert torch.equal(strided[key], value), f"{key} was changed"


@pytest.mark.parametrize("backend", FAST)
def test_autocast_outside_changes_nothing_inside(backend: str) -> None:
    arguments = make_arguments(1, 16, 200)
    plain, _ = run(arguments, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = run(arguments, backend)
    assert torch.equal(plain, inside)


@pytest.mark.parametrize("backend", FAST)
def test_extreme_steps_neither_overflow_nor_give_nan(backend: str) -> None:
    """Steps of 1e4 make every decay zero; steps of 0 make it one. The scan that divides by products fails here."""
    arguments = make_arguments(1, 16, 400)
    arguments["delta_softplus"] = False
    arguments["delta_bias"] = None
    arguments["delta"] = torch.where(torch.rand(1, 16, 400) < 0.5, 1e4, 0.0)
    for found, wanted in zip(run(arguments, backend), run(arguments, "reference"), strict=True):
        assert torch.isfinite(found).all()
        assert_same(found, wanted)


@pytest.mark.parametrize("backend", FAST)
def test_nan_in_one_channel_stays_there(backend: str) -> None:
    arguments = make_arguments(1, 20, 40)
    arguments["u"][0, 3, 10] = float("nan")
    y, _ = run(arguments, backend)
    assert torch.isnan(y[0, 3, 10:]).all()
    assert torch.isfinite(y[0, :3]).all()
    assert torch.isfinite(y[0, 4:]).all()
    assert torch.isfinite(y[0, 3, :10]).all()


def test_gradients_in_float64_pass_gradcheck() -> None:
    arguments = make_arguments(1, 4, 21, state=3, groups=2, dtype=torch.float64)
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")

    def operator(*tensors: Tensor) -> Any:
        named = dict(zip(names, tensors, strict=True))
        return scan.selective_scan(**named, delta_softplus=True, return_last_state=True, backend="torch")

    assert torch.autograd.gradcheck(operator, tuple(arguments[name].requires_grad_() for name in names))


def test_gradients_over_many_blocks_equal_the_loop() -> None:
    """A length at which the backward pass has several blocks of several chunks."""
    found, wanted = (make_arguments(1, 1024, 300, state=32) for _ in range(2))
    for arguments, backend in ((found, "torch"), (wanted, "reference")):
        for value in arguments.values():
            if isinstance(value, Tensor):
                value.requires_grad_()
        y, last = run(arguments, backend)
        (y.square().mean() + last.sum()).backward()
    for key, value in wanted.items():
        if isinstance(value, Tensor):
            assert_same(found[key].grad, value.grad, 1e-4)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    arguments = make_arguments(2, 48, 3000)
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            answers.append([run(arguments, backend)[0] for backend in FAST])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*answers, strict=True):
        assert torch.equal(one, two)


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


def test_a_damaged_cache_is_no_obstacle(tmp_path: Path) -> None:
    from mambaseg.scan.numba_backend import compile_kernel

    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    _, note = compile_kernel(tmp_path)
    assert "cached" in note
    for index in tmp_path.rglob("*.nbi"):
        index.write_bytes(index.read_bytes()[:20])
    kernel, note = compile_kernel(tmp_path)
    assert "failed" in note
    assert callable(kernel)


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


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 4, 0)])
def test_gradients_of_empty_inputs_are_zero(shape: tuple[int, int, int]) -> None:
    batch, dim, length = shape
    arguments = make_arguments(batch, dim, length)
    for value in arguments.values():
        if isinstance(value, Tensor):
            value.requires_grad_()
    run(arguments, "torch")[0].sum().backward()
    for key in ("A", "B", "delta", "delta_bias"):
        assert arguments[key].grad is not None, key
        assert float(arguments[key].grad.abs().sum()) == 0.0


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


def test_the_torch_backend_holds_only_a_block_in_memory() -> None:
    """All states of this problem at once would take 800 MB; a block takes a small part of it."""
    code = """
import resource, torch
from mambaseg import scan
torch.set_num_threads(1)
L = 200_000
u, d = torch.randn(1, 64, L), torch.randn(1, 64, L)
A, B = -torch.rand(64, 16), torch.randn(1, 16, L)
scan.selective_scan(u[..., :500], d[..., :500], A, B[..., :500], B[..., :500], backend="torch")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scan.selective_scan(u, d, A, B, B, delta_softplus=True, backend="torch")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if sys.platform != "linux":
        pytest.skip("peak memory is read the Linux way")
    done = run_python(code)
    inputs_kb = 64 * 200_000 * 4 // 1024
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 6 * inputs_kb, "memory grows with length x state"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": torch.zeros(1, 8, 6)}, "delta"),
        ({"A": torch.zeros(7, 16)}, "A must be"),
        ({"B": torch.zeros(1, 15, 5)}, "B must be"),
        ({"B": torch.zeros(1, 3, 16, 5), "C": torch.zeros(1, 3, 16, 5)}, "3 groups"),
        ({"D": torch.zeros(9)}, "D must be"),
        ({"u": torch.zeros(1, 8, 5, dtype=torch.int32)}, "real numbers"),
        ({"backend": "no-such"}, "no scan backend 'no-such'"),
        ({"backend": "mamba_ssm"}, "mamba_ssm"),
    ],
)
def test_wrong_arguments_are_refused_in_words(change: dict[str, Any], words: str) -> None:
    arguments = make_arguments(1, 8, 5) | {"backend": "torch"} | change
    with pytest.raises(ValueError, match=words):
        scan.selective_scan(**arguments)


def test_float64_never_loses_digits_to_a_float32_kernel() -> None:
    arguments = make_arguments(1, 8, 40, dtype=torch.float64)
    with scan.record_backends() as used:
        found = scan.selective_scan(**arguments)
    assert isinstance(found, Tensor)
    assert set(used) == {"torch"}
    assert_same(found, run(arguments, "reference")[0], 1e-12)


def test_the_backends_that_ran_are_counted() -> None:
    arguments = make_arguments(1, 8, 5)
    with scan.record_backends() as used:
        scan.selective_scan(**arguments, backend="torch")
        scan.selective_scan(**arguments, backend="torch")
        scan.selective_scan(**arguments, backend="reference")
    assert dict(used) == {"torch": 2, "reference": 1}


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
    return registry.BackendEntry("stand-in", lambda: UpstreamBackend(kernel), ("cpu",))


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


@pytest.mark.skipif("numba" not in scan.available_backends("cpu"), reason="numba does not work on this machine")
def test_an_unwritable_cache_folder_is_no_obstacle(tmp_path: Path) -> None:
    from mambaseg.scan.numba_backend import compile_kernel

    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    kernel, note = compile_kernel(blocked / "cache")
    assert "cannot be written" in note
    assert callable(kernel)


@pytest.mark.skipif("numba" not in scan.available_backends("cpu"), reason="numba does not work on this machine")
def test_processes_that_start_at_once_share_a_cache_folder(tmp_path: Path) -> None:
    code = """
import torch
from mambaseg import scan
u = torch.ones(1, 16, 30)
y = scan.selective_scan(u, u, -torch.ones(16, 4), torch.ones(1, 4, 30), torch.ones(1, 4, 30), backend="numba")
raise SystemExit(0 if torch.isfinite(y).all() else 1)
"""
    environment = {**os.environ, "MAMBASEG_CACHE": str(tmp_path)}
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ENGINE, env=environment) for _ in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert any((tmp_path / "numba").rglob("*.nbi")), "nothing was cached"


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
