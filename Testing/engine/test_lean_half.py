"""The lean form in bfloat16 is as near to float32 as the plain form in bfloat16, and is what runs where it can."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from engine.test_lean import CASES, _network
from mambaseg.inference.activations import _HalfPrecision, activation_bytes
from mambaseg.inference.kept import NetworkCache
from mambaseg.lean import lean_check, make_lean
from mambaseg.lean.blocks import LeanConv2d, LeanConv3d
from mambaseg.lean.convolution import project
from mambaseg.lean.norm import normalise
from mambaseg.networks.counting import shapes_only

pytest.importorskip("numba", reason="the lean form needs numba")
HALF = torch.bfloat16
IN_BFLOAT16 = [case for case in CASES if case not in ("vm_unet", "mamba_unet")]  # those have no norms to fuse
if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    pytest.skip("oneDNN is without bfloat16 here: networks run plainly in it", allow_module_level=True)


def _away(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted).square().mean().sqrt() / wanted.abs().max())


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_network_is_as_near_to_float32_as_in_its_plain_form(case: str, batch: int):
    name, dims, size, arguments = CASES[case]
    network = _network(name, dims, arguments)
    image = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", dtype=HALF):
            plain = network(image)
            lean = make_lean(network)(image)
    assert lean.shape == exact.shape
    assert 0 < _away(lean, exact) <= 1.5 * _away(plain, exact)


def _note(kinds: dict[str, torch.dtype], place: str, _module: nn.Module, _given: object, out: object) -> None:
    if isinstance(out, Tensor):
        kinds[place] = out.dtype


@pytest.mark.parametrize("case", IN_BFLOAT16, ids=str)
def test_types_with_values_and_without_are_the_same(case: str):
    """So that what a pass holds is known beforehand."""
    name, dims, size, arguments = CASES[case]
    found: list[dict[str, torch.dtype]] = []
    for device, casting in (("cpu", contextlib.nullcontext()), ("meta", _HalfPrecision())):
        network = _network(name, dims, arguments)
        network = make_lean(shapes_only(network) if device == "meta" else network)
        kinds: dict[str, torch.dtype] = {}
        for place, module in network.named_modules():
            module.register_forward_hook(partial(_note, kinds, place))
        with torch.no_grad(), torch.autocast("cpu", dtype=HALF), casting:
            network(torch.zeros(1, 1, *size, device=device))
        found.append(kinds)
    real, shadow = found
    assert real == shadow
    assert real[""] == torch.float32, "the logits"
    convolved = (LeanConv2d, LeanConv3d)
    assert {real[place] for place, one in network.named_modules() if isinstance(one, convolved) and place in real} == {
        HALF
    }


def test_a_pass_holds_half_of_what_float32_does():
    name, dims, _, arguments = CASES["residual_unet 3D"]
    network, shape = _network(name, dims, arguments), (1, 1, 64, 64, 64)
    whole, half = (activation_bytes(network, shape, lean=True, half=half) for half in (False, True))
    assert half <= 0.6 * whole


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d(16, affine=True), nn.GroupNorm(8, 16)], ids=str)
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_norm_sum_and_activation_are_rounded_once(norm: nn.Module, added: bool, in_place: bool):
    torch.manual_seed(5)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    image, other = (torch.randn(2, 16, 7, 5, 9) * 3 + 40).to(HALF), torch.randn(2, 16, 7, 5, 9)
    beside = other.to(HALF) if added else None
    with torch.inference_mode():
        exact = normalise(image.float(), norm, slope=0.01, added=None if beside is None else beside.float())
        found = normalise(image.clone(), norm, slope=0.01, added=beside, in_place=in_place)
        from_float32 = normalise(image.clone(), norm, slope=0.01, added=other if added else None)
    assert found.dtype == HALF
    assert torch.equal(found, from_float32)
    wanted = exact.to(HALF)
    same = float((found == wanted).float().mean())
    assert same >= 0.9999, "more than a number in ten thousand is rounded elsewhere than float32's answer is"
    torch.testing.assert_close(found, wanted, rtol=2**-7, atol=0)


def _rounded(bits: np.ndarray) -> np.ndarray:
    """What a kernel makes of float32's bits that become bfloat16's."""
    import numba

    from mambaseg.lean.halves_kernel import narrow, row_for

    @numba.njit
    def kernel(bits: Any, out: Any) -> None:
        buffer = np.empty(bits.size, np.uint32)
        row = row_for(out, 0, out.size, buffer)
        row[:] = bits.view(np.float32)
        narrow(out, 0, out.size, buffer)

    out = np.zeros(bits.size, np.uint16)
    kernel(bits, out)
    return out


def test_rounding_is_torchs_and_keeps_what_is_no_number():
    edges = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000, 0x17FFF, 0x18000, 0x18001]  # ties to even and to odd
    upper = [0, 0x3F80, 0x3F81, 0x7F7F, 0x7F80, 0x7FFF, 0x8000, 0xBF81, 0xFF7F, 0xFF80, 0xFFFE]
    some = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32)
    bits = np.array([(up << 16) + edge & 0xFFFFFFFF for up in upper for edge in edges] + [0xFFFFFFFF], np.uint32)
    bits = np.concatenate([bits, some])
    wanted = torch.from_numpy(bits.view(np.float32).copy()).to(HALF)
    found = torch.from_numpy(_rounded(bits).view(np.int16).copy()).view(HALF)
    assert torch.equal(found.isnan(), wanted.isnan())
    numbers = ~wanted.isnan()
    assert bool(wanted.isnan().any())
    assert bool(wanted.isinf().any())
    assert torch.equal(found[numbers].view(torch.int16), wanted[numbers].view(torch.int16))


def test_what_is_not_a_number_stays_so_and_other_types_are_refused():
    image = torch.randn(1, 8, 4, 4, 4).to(HALF)
    image[0, 2, 1, 1, 1] = float("nan")
    norm = nn.InstanceNorm3d(8, affine=True)
    with torch.inference_mode():
        found = normalise(image, norm, slope=0.01)
        assert bool(torch.isnan(found[0, 2]).all())
        assert bool(torch.isfinite(found[0, [0, 1, 3]]).all())
        for other in (torch.float16, torch.float64):
            with pytest.raises(TypeError):
                normalise(torch.randn(1, 8, 4, 4, 4).to(other), norm)


def test_logits_are_float32_of_what_is_given():
    torch.manual_seed(0)
    head = nn.Conv3d(8, 5, 1)
    image = torch.randn(2, 8, 40, 41, 42).to(HALF)
    with torch.inference_mode():
        wanted = head(image.float())
        with torch.autocast("cpu", dtype=HALF):
            found = project(image, head)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_it_is_what_a_run_in_bfloat16_takes():
    assert lean_check(HALF).usable, lean_check(HALF).reason
    assert not lean_check(torch.float16).usable
    volume = make_volume(smooth_image((22, 21, 24), sigma=2.5), (1.8, 1.9, 1.7))
    model = make_model(make_spec(network="umamba_enc"))
    seen: list[str] = []

    class Cache(NetworkCache):
        def get(self, *given: Any, **options: Any) -> nn.Module:
            network = super().get(*given, **options)
            seen.extend({type(module).__name__ for module in network.modules()})
            return network

    mambaseg.segment(volume, model, mambaseg.Options(device="cpu", precision="bfloat16"), networks=Cache())
    assert "LeanMambaLayer" in seen
    seen.clear()
    mambaseg.segment(volume, model, mambaseg.Options(device="cpu", precision="float16"), networks=Cache())
    assert "MambaLayer" in seen
