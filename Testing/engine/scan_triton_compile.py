"""Compiles every kernel of the Triton scan for cards that need not be there, and prints what each takes as JSON.

    python scan_triton_compile.py cuda 90

A process of its own: under pytest the kernels may be defined for Triton's interpreter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as build

from mambaseg.scan import triton_backward, triton_causal, triton_forward
from mambaseg.scan.triton_gradient import _CUT, _ENDS, gradient_cut
from mambaseg.scan.triton_launch import FORWARD_CUTS

FLOATS = {"A", "D", "bias", "weight", "own", "total", "starts", "start", "last", "reaching"}
HALVES = {"u", "delta", "B", "C", "z", "y", "dy", "x", "dx"}
GRADIENTS = {"du", "ddelta", "dA", "dB", "dC", "dD", "dz", "dw", "db"}
EVERY = {"BIAS": True, "SOFTPLUS": True, "SKIP": True, "GATE": True, "START": True, "PICTURE": False, "REVERSE": False}
FEW = dict.fromkeys(EVERY, False) | {"PICTURE": True, "REVERSE": True}


def variants() -> list[tuple[Any, dict[str, Any], str, int]]:
    """Kernel, constants, type of tokens, warps."""
    found: list[tuple[Any, dict[str, Any], str, int]] = []
    for cut in FORWARD_CUTS:
        sizes = {"TOKENS": cut.tokens, "DIM": cut.dim, "STATE": 16}
        found += [
            (kernel, {**EVERY, **sizes}, "*bf16", cut.warps)
            for kernel in (triton_forward.own_ends, triton_forward.outputs)
        ]
    sizes = {"TOKENS": _CUT.tokens, "DIM": _CUT.dim, "STATE": 16}
    for switches, kind in ((EVERY, "*fp16"), (FEW, "*fp32")):
        found.append((triton_backward.gradients, {**switches, **sizes}, kind, _CUT.warps))
        ends = {"TOKENS": _ENDS.tokens, "DIM": _ENDS.dim, "STATE": 16}
        found.append((triton_backward.own_leaving, {**switches, **ends}, kind, _ENDS.warps))
        found.append((triton_forward.compose, {**switches, "BLOCK": 512, "STATE": 16}, kind, 8))
        large = FORWARD_CUTS[0].for_state(64)
        sizes_64 = {"TOKENS": large.tokens, "DIM": large.dim, "STATE": 64}
        found.append((triton_forward.outputs, {**switches, **sizes_64}, kind, large.warps))
        back = gradient_cut(64)
        sizes_64 = {"TOKENS": back.tokens, "DIM": back.dim, "STATE": 64}
        found.append((triton_backward.gradients, {**switches, **sizes_64}, kind, back.warps))
    plain = triton_causal._TOKENS, triton_causal._DIM
    lying, back = triton_causal._SIDE_BY_SIDE, triton_causal._BACK_SIDE_BY_SIDE
    for kernel, cuts in ((triton_causal._forward, (plain, lying)), (triton_causal._backward, (plain, back))):
        found += [(kernel, {"TOKENS": tokens, "DIM": dim, "WIDTH": 4}, "*bf16", 4) for tokens, dim in cuts]
    return found


def built(kernel: Any, constants: dict[str, Any], kind: str, warps: int, target: GPUTarget) -> Any:
    """Compile one; an argument that a switch leaves out is None, as at a call."""
    absent = {"bias": "BIAS", "D": "SKIP", "z": "GATE", "dz": "GATE", "start": "START"}
    signature, values = {}, {}
    for name in kernel.arg_names:
        switch = absent.get(name)
        if name in constants or (switch is not None and not constants.get(switch, True)):
            signature[name], values[name] = "constexpr", constants.get(name)
        elif name in FLOATS | GRADIENTS:
            signature[name] = "*fp32"
        else:
            signature[name] = kind if name in HALVES else "i32"
    return build(ASTSource(kernel, signature=signature, constexprs=values), target, {"num_warps": warps})


def resources(cubin: bytes) -> dict[str, int]:
    """Registers and spilled bytes of a kernel for an NVIDIA card, as the driver's tool in Triton's package tells."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        ran = subprocess.run(
            [str(tool), "--dump-resource-usage", str(file)], capture_output=True, text=True, check=True
        )
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", ran.stdout)}


def main() -> None:
    kind, arch = sys.argv[1:]
    target = GPUTarget(kind, int(arch) if kind == "cuda" else arch, 32 if kind == "cuda" else 64)
    lines = []
    for kernel, constants, tokens, warps in variants():
        done = built(kernel, constants, tokens, warps, target)
        taken = resources(done.asm["cubin"]) if "cubin" in done.asm else {}
        size = len(done.asm.get("cubin") or done.asm["hsaco"])
        about = {"kernel": kernel.__name__, "state": constants.get("STATE"), "shared": done.metadata.shared}
        lines.append({**about, "bytes": size, **taken})
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
