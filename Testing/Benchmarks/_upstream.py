"""The published scan kernel, built for the measurement from an unpacked source package; nothing is installed.

The package's own build compiles every type for many architectures. Here it is the float32 and bfloat16 sources with
its own flags, for the one card; what its dispatch names beside them raises. Of mamba-ssm's source packages 2.2.6.post3
and 2.3.2.post1 hold these sources; 1.2.2 and 2.2.4 hold none.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from _record import run
from torch import Tensor

from mambaseg.errors import OptionError, ResourceError

NAME = "published_scan"
INTERFACE = "mamba_ssm.ops.selective_scan_interface"  # where the engine's adapter looks for the function
_FOLDER = Path("csrc", "selective_scan")
_SOURCES = (
    "selective_scan.cpp",
    "selective_scan_fwd_fp32.cu",
    "selective_scan_fwd_bf16.cu",
    "selective_scan_bwd_fp32_real.cu",
    "selective_scan_bwd_bf16_real.cu",
)
_HEADER = "selective_scan.h"
_FLAGS = (  # those of its setup.py, less what only tells of the compilation
    "-O3",
    "-U__CUDA_NO_HALF_OPERATORS__",
    "-U__CUDA_NO_HALF_CONVERSIONS__",
    "-U__CUDA_NO_BFLOAT16_OPERATORS__",
    "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
    "-U__CUDA_NO_BFLOAT162_OPERATORS__",
    "-U__CUDA_NO_BFLOAT162_CONVERSIONS__",
    "--expt-relaxed-constexpr",
    "--expt-extended-lambda",
    "--use_fast_math",
)
_LEFT_OUT = (  # way, input, weights: named by selective_scan.cpp, in no source that is compiled
    ("fwd", "at::Half", "float"),
    ("fwd", "at::Half", "complex_t"),
    ("bwd", "at::Half", "float"),
    ("bwd", "at::Half", "complex_t"),
    ("bwd", "float", "complex_t"),
    ("bwd", "at::BFloat16", "complex_t"),
)
_STUB = """#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>
#include <c10/util/complex.h>
#include <cuda_runtime_api.h>

#include "selective_scan.h"

using complex_t = c10::complex<float>;
template <typename input_t, typename weight_t> void selective_scan_fwd_cuda(SSMParamsBase &params, cudaStream_t stream);
template <typename input_t, typename weight_t> void selective_scan_bwd_cuda(SSMParamsBwd &params, cudaStream_t stream);
"""


class Kernels(Protocol):
    """The two functions of the built extension, with the arguments that ``selective_scan.cpp`` declares."""

    def fwd(self, *arguments: Any) -> Sequence[Tensor]:
        """``(out, x)``, and the gated output where there is a gate."""
        ...

    def bwd(self, *arguments: Any) -> Sequence[Tensor]:
        """Gradients of u, delta, A, B, C, D and the step's bias, and of the gate where there is one."""
        ...


@dataclass(frozen=True)
class Recipe:
    """What is compiled.

    Attributes
    ----------
    sources
        The package's files, and our own source of those that raise.
    include
        The package's folder of headers.
    flags
        For nvcc.
    """

    sources: tuple[Path, ...]
    include: Path
    flags: tuple[str, ...]


def stub() -> str:
    """C++ that defines what is dispatched to and not compiled; a call says so."""
    lines = [
        f"template <> void selective_scan_{way}_cuda<{kind}, {weight}>({_PARAMETERS[way]} &, cudaStream_t) {{\n"
        f'    TORCH_CHECK(false, "The benchmark compiled the published scan for float32 and bfloat16 alone.");\n}}\n'
        for way, kind, weight in _LEFT_OUT
    ]
    return _STUB + "".join(lines)


_PARAMETERS = {"fwd": "SSMParamsBase", "bwd": "SSMParamsBwd"}


def recipe(package: Path, into: Path, capability: tuple[int, int]) -> Recipe:
    """See that a folder is the unpacked source package, and say what of it is compiled; the stub is written.

    Parameters
    ----------
    package
        The unpacked source package.
    into
        The folder for everything that is built.
    capability
        Of the card: ``(9, 0)``.

    Raises
    ------
    OptionError
        If the folder is not such a package.
    """
    folder = package / _FOLDER
    missing = [name for name in (*_SOURCES, _HEADER) if not (folder / name).is_file()]
    if missing:
        raise OptionError(
            f"'{package}' has no '{(_FOLDER / missing[0]).as_posix()}', so the published kernel cannot be built from "
            "it. Unpack the source package of mamba-ssm 2.2.6.post3 and name its folder."
        )
    into.mkdir(parents=True, exist_ok=True)
    own, text = into / "left_out.cpp", stub()
    if not own.is_file() or own.read_text(encoding="ascii") != text:  # else it would be compiled anew every time
        own.write_text(text, encoding="ascii")
    number = f"{capability[0]}{capability[1]}"
    target = f"-gencode=arch=compute_{number},code=sm_{number}"
    return Recipe((*(folder / name for name in _SOURCES), own), folder, (*_FLAGS, target))


def toolkit(usual: Sequence[str] = ("/usr/local/cuda",)) -> str | None:
    """The folder of the CUDA toolkit, or None.

    torch takes the folder above the ``nvcc`` that is found first, which may be a script that starts one elsewhere.
    """
    from torch.utils import cpp_extension

    named = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), cpp_extension.CUDA_HOME, *usual)
    needed = (Path("bin", "nvcc"), Path("include", "cuda_runtime_api.h"))
    return next((home for home in named if home and all(Path(home, part).is_file() for part in needed)), None)


def build(
    package: Path, into: Path, capability: tuple[int, int], *, home: Callable[[], str | None] = toolkit
) -> Kernels:
    """Compile the published kernel for one card and load it; a second time it is only loaded.

    Parameters
    ----------
    package, into, capability
        As in `recipe`.
    home
        Gives the CUDA toolkit's folder.

    Raises
    ------
    OptionError
        If the folder is not such a package.
    ResourceError
        If there is no nvcc or no ninja, or the sources do not compile.
    """
    from torch.utils import cpp_extension

    what = recipe(package, into, capability)
    found = home()
    if found is None or torch.version.cuda is None:
        why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "there is no CUDA toolkit"
        raise ResourceError(
            f"The published kernel cannot be built: {why}. Install the CUDA toolkit of PyTorch's version and set "
            "CUDA_HOME, or leave out --upstream."
        )
    cpp_extension.CUDA_HOME = found  # read at each use, for headers and libraries too
    try:
        kernels: Kernels = cpp_extension.load(
            NAME,
            [str(source) for source in what.sources],
            extra_cflags=["-O3"],
            extra_cuda_cflags=list(what.flags),
            extra_include_paths=[str(what.include)],
            build_directory=str(into),
            with_cuda=True,
        )
    except (RuntimeError, OSError, ImportError) as error:
        told = next((line for line in str(error).splitlines() if "error" in line), str(error).strip().split("\n")[0])
        raise ResourceError(f"The published kernel could not be built in '{into}': {told}") from error
    return kernels


class _Scan(torch.autograd.Function):
    """Between autograd and the kernels, as the package's own function stands there."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        bias: Tensor | None,
        softplus: bool,
    ) -> tuple[Tensor, Tensor]:
        """Scan; the gated output and the last state."""
        u, delta, B, C = (_dense(given) for given in (u, delta, B, C))
        z = None if z is None else _dense(z)
        ctx.squeezed = B.dim() == 3, C.dim() == 3
        B, C = (given.unsqueeze(1) if given.dim() == 3 else given for given in (B, C))
        out, x, *gated = kernels.fwd(u, delta, A, B, C, D, z, bias, softplus)
        ctx.save_for_backward(u, delta, A, B, C, D, z, bias, x, None if z is None else out)
        ctx.kernels, ctx.softplus = kernels, softplus
        last = x[:, :, -1, 1::2]
        ctx.mark_non_differentiable(last)
        return (gated[0] if gated else out), last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of every tensor."""
        u, delta, A, B, C, D, z, bias, x, out = ctx.saved_tensors
        dy = torch.zeros_like(u) if gradients[0] is None else _dense(gradients[0])
        du, ddelta, dA, dB, dC, dD, dbias, *dz = ctx.kernels.bwd(
            u, delta, A, B, C, D, z, bias, dy, x, out, None, ctx.softplus, False
        )
        dB, dC = (d.squeeze(1) if squeezed else d for d, squeezed in zip((dB, dC), ctx.squeezed, strict=True))
        return (None, du, ddelta, dA, dB, dC, None if D is None else dD, dz[0] if dz else None,
                None if bias is None else dbias, None)  # fmt: skip


def _dense(given: Tensor) -> Tensor:
    """The kernel reads tokens that lie side by side."""
    return given if given.stride(-1) == 1 else given.contiguous()


class PublishedScan:
    """The built kernels as a function of the published signature.

    Parameters
    ----------
    kernels
        From `build`.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def __call__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:
        """Scan as ``selective_scan_fn`` does; no gradient of the last state."""
        given = (u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        y, last = _Scan.apply(self._kernels, *given)  # type: ignore[no-untyped-call]
        return (y, last) if return_last_state else y


def offer(function: Callable[..., Any]) -> None:
    """Put a scan where the engine's adapter imports it from, in this process alone."""
    module = types.ModuleType(INTERFACE)
    module.selective_scan_fn = function  # type: ignore[attr-defined]
    sys.modules[INTERFACE] = module


def find(package: Path | None, into: Path | None, card: str) -> Callable[..., Any] | None:
    """The published scan: built where a source package is named, else of an installed package, else None.

    Raises
    ------
    OptionError, ResourceError
        As `build` does.
    """
    if package is not None:
        if into is None:
            raise OptionError("Name a folder for what is built of the published kernel with --upstream-build.")
        print("Building the published kernel takes a minute or two.", flush=True)
        function = PublishedScan(build(package.absolute(), into.absolute(), torch.cuda.get_device_capability(card)))
        offer(function)
        return function
    from mambaseg.scan.upstream import load_upstream

    try:
        return load_upstream()
    except ImportError:
        return None


def main() -> None:
    """Build alone, so that it can go on beside the tests: the folder of the package, and that of what is built."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("into", type=Path)
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        raise ResourceError("There is no CUDA card here to build the published kernel for.")
    began = time.perf_counter()
    build(chosen.package.absolute(), chosen.into.absolute(), torch.cuda.get_device_capability())
    print(f"The published kernel is built and loads, after {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    run(main)
