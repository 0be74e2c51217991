"""The lean form of the networks gives the plain form's numbers, chunk by chunk and whatever the number of threads."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mambaseg import networks, scan
from mambaseg.inference.activations import activation_bytes
from mambaseg.inference.stopping import asked_between_layers
from mambaseg.layers import Mamba, MambaLayer, PlainResidualBlock
from mambaseg.lean import lean_check, make_lean, make_plain
from mambaseg.lean.blocks import LeanMaxPool3d
from mambaseg.lean.norm import as_voxels, channel_moments, normalise
from mambaseg.lean.stream import Streamed, chunks, shares_of

pytest.importorskip("numba", reason="the lean form needs numba")

SMALL = {
    "n_stages": 3, "features_per_stage": [8, 16, 24], "n_conv_per_stage": [2] * 3, "n_conv_per_stage_decoder": [2] * 2,
}  # fmt: skip


def _unet(dims: int, patch: tuple[int, ...]) -> dict[str, object]:
    kernels, strides = [[3] * dims] * 3, [[1] * dims, *[[2] * dims] * 2]
    return {**SMALL, "kernel_sizes": kernels, "strides": strides, "patch_size": list(patch)}


CASES = {
    "umamba_bot 3D": ("umamba_bot", 3, (16, 24, 20), _unet(3, (16, 24, 20))),
    "umamba_enc 3D": ("umamba_enc", 3, (16, 24, 20), _unet(3, (16, 24, 20))),
    "residual_unet 3D": ("residual_unet", 3, (16, 24, 20), _unet(3, (16, 24, 20))),
    "lightm_unet 3D": ("lightm_unet", 3, (16, 24, 32), {"init_filters": 8}),
    "umamba_bot 2D": ("umamba_bot", 2, (32, 40), _unet(2, (32, 40))),
    "umamba_enc 2D": ("umamba_enc", 2, (32, 40), _unet(2, (32, 40))),
    "lightm_unet 2D": ("lightm_unet", 2, (32, 40), {"init_filters": 8}),
    "vm_unet": ("vm_unet", 2, (64, 64), {"dims": [16, 32], "depths": [1, 1], "depths_decoder": [1, 1]}),
    "mamba_unet": ("mamba_unet", 2, (64, 64), {"dims": [16, 32], "depths": [1, 1]}),
}


def _network(name: str, dims: int, arguments: dict[str, object]) -> nn.Module:
    torch.manual_seed(3)
    return networks.build(name, spatial_dims=dims, in_channels=1, num_classes=5, **arguments).eval()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_network_gives_the_same_logits(case, batch):
    name, dims, size, arguments = CASES[case]
    network = _network(name, dims, arguments)
    image = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = network(image)
        # the scan of pictures is always float32, so those networks are held to the plain form itself
        exact = plain if name in ("vm_unet", "mamba_unet") else copy.deepcopy(network).double()(image.double())
        lean = make_lean(network)(image)
    largest = float(exact.abs().max())
    assert lean.shape == plain.shape
    assert lean.dtype == torch.float32
    away = float((lean - exact).abs().max()) / largest
    assert away <= max(2e-5, 3 * float((plain - exact).abs().max()) / largest)


def test_the_lean_form_is_taken_off_without_a_trace():
    network = _network("umamba_enc", 3, _unet(3, (16, 24, 20)))
    image = torch.randn(1, 1, 16, 24, 20)
    keys = list(network.state_dict())
    with torch.inference_mode():
        before = network(image)
        lean = make_lean(network)(image)
        assert list(network.state_dict()) == keys
        after = make_plain(network)(image)
    assert not torch.equal(before, lean)
    assert torch.equal(before, after)
    assert {type(module) for module in network.modules()} == {
        type(module) for module in _network("umamba_enc", 3, _unet(3, (16, 24, 20))).modules()
    }


def test_two_runs_and_any_number_of_threads_give_the_same_norms_and_scans():
    torch.manual_seed(0)
    image = torch.randn(2, 24, 9, 31, 17)
    norm = nn.InstanceNorm3d(24, affine=True)
    mamba = Mamba(24).eval()
    tokens = torch.randn(2, 4000, 24)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                found.append((normalise(image, norm, slope=0.01), Streamed(mamba, 2)(tokens)))
    finally:
        torch.set_num_threads(before)
    for normed, mixed in found[1:]:
        assert torch.equal(normed, found[0][0])
        torch.testing.assert_close(
            mixed, found[0][1], rtol=2e-6, atol=2e-6
        )  # MKL's products may differ in the last bit
    assert torch.equal(found[1][1], found[2][1])


@pytest.mark.parametrize("sizes", [(1,), (2,), (3, 1), (1, 1, 1, 1, 5), (300, 1, 2, 77), (257, 513)], ids=str)
def test_a_sequence_in_chunks_is_the_sequence(sizes):
    torch.manual_seed(2)
    mamba = Mamba(16).eval()
    tokens = torch.randn(2, sum(sizes), 16)
    with torch.inference_mode():
        wanted = mamba(tokens)
        streamed = Streamed(mamba, 2)
        found = torch.cat([streamed(part) for part in tokens.split(list(sizes), dim=1)], dim=1)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shares", [2, 4])
@pytest.mark.parametrize(("width", "length", "batch"), [(8, 3000, 2), (16, 1037, 1), (32, 9, 1)])
def test_states_shared_out_are_the_states(width, length, batch, shares):
    """Many threads share a chunk of few channels: to the last bit what one thread makes of it."""
    torch.manual_seed(0)
    mamba = Mamba(width).eval()
    x = torch.randn(batch, length, width)
    with torch.inference_mode():
        found = [
            torch.cat([streamed(part).clone() for part in x.split(1250, dim=1)], dim=1)
            for streamed in (Streamed(mamba, batch, 1), Streamed(mamba, batch, shares))
        ]
        wanted = mamba(x)
    assert torch.equal(found[0], found[1])
    assert float((found[1] - wanted).abs().max()) <= 2e-6 * float(wanted.abs().max())


def test_states_are_shared_out_where_there_are_more_threads_than_channels_for_them():
    assert [shares_of(1, 16, threads) for threads in (1, 2, 3, 4, 64)] == [1, 2, 2, 4, 4]
    assert [shares_of(1, 64, threads) for threads in (7, 8, 16)] == [1, 2, 4]
    assert shares_of(2, 64, threads=8) == 1


@pytest.mark.parametrize("length", [1, 511, 512, 513, 70_001])
def test_chunks_cover_a_sequence_once(length):
    spans = list(chunks(length, 64))
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert all(a.stop == b.start for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("channels", [1, 3, 8, 17, 64, 600])
@pytest.mark.parametrize("voxels", [(1, 1, 2), (5, 7, 11), (40, 33, 9)], ids=str)
def test_moments_are_those_of_float64_however_far_the_mean(channels, voxels):
    generator = torch.Generator().manual_seed(channels)
    image = torch.randn(2, channels, *voxels, generator=generator) * 0.5 + 1000.0
    mean, variance = channel_moments(as_voxels(image))
    exact = image.double().flatten(2)
    torch.testing.assert_close(mean, exact.mean(dim=2), rtol=1e-9, atol=0)
    torch.testing.assert_close(variance, exact.var(dim=2, unbiased=False), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "norm", [nn.InstanceNorm3d(16, affine=True), nn.GroupNorm(8, 16), nn.GroupNorm(1, 16)], ids=str
)
@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0])
def test_norm_sum_and_activation_are_one(norm, slope):
    torch.manual_seed(5)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    image, other = torch.randn(2, 16, 6, 5, 9), torch.randn(2, 16, 6, 5, 9)
    with torch.inference_mode():
        wanted = nn.functional.leaky_relu(copy.deepcopy(norm).double()(image.double()) + other.double(), slope)
        kept = image.clone()
        found = normalise(image, norm, slope=slope, added=other)
        assert torch.equal(image, kept)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_constant_image_is_normalised_to_the_shift():
    norm = nn.InstanceNorm3d(4, affine=True)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, -2.0, 0.0, 3.0]))
        found = normalise(torch.full((1, 4, 3, 4, 5), 7.0), norm)
    wanted = norm.bias.detach().view(1, 4, 1, 1, 1).expand(1, 4, 3, 4, 5)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_what_is_not_a_number_stays_so():
    image = torch.randn(1, 8, 4, 4, 4)
    image[0, 2, 1, 1, 1] = float("nan")
    with torch.inference_mode():
        found = normalise(image, nn.InstanceNorm3d(8, affine=True), slope=0.01)
    assert bool(torch.isnan(found[0, 2]).all())
    assert bool(torch.isfinite(found[0, [0, 1, 3]]).all())


def test_pooling_takes_the_largest():
    image = torch.randn(2, 5, 6, 8, 10)
    pool = nn.MaxPool3d(2)
    wanted = pool(image)
    pool.__class__ = LeanMaxPool3d
    assert torch.equal(pool(image), wanted)


def test_a_named_backend_runs_in_the_lean_form_too():
    layer = MambaLayer(8).eval()
    image = torch.randn(1, 8, 5, 6, 7)
    with torch.inference_mode():
        wanted = layer(image)
        lean = make_lean(layer)
        for name in ("numba", "torch", "reference"):
            networks.set_scan_backend(lean, name)
            with scan.record_backends() as used:
                found = lean(image)
            assert dict(used) == {name: 1}
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_widths_that_are_no_sixteens_run_plainly():
    layer = MambaLayer(5).eval()
    image = torch.randn(1, 5, 3, 4, 5)
    with torch.inference_mode():
        wanted = layer(image)
        torch.testing.assert_close(make_lean(layer)(image), wanted)


def test_the_self_check_passes_here_and_leaves_random_numbers_alone():
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    assert lean_check().usable, lean_check().reason
    assert torch.equal(torch.rand(3), wanted)


def test_strided_blocks_keep_shapes_without_values():
    block = make_lean(PlainResidualBlock(3, 1, 8, (3, 3, 3), (1, 2, 2)).to("meta"))
    assert block(torch.empty(1, 1, 6, 8, 10, device="meta")).shape == (1, 8, 6, 4, 5)


@pytest.mark.parametrize("case", ["umamba_enc 3D", "lightm_unet 3D"])
def test_a_lean_network_has_shapes_without_values(case):
    name, dims, size, arguments = CASES[case]
    network = make_lean(_network(name, dims, arguments).to("meta"))
    with torch.inference_mode():
        assert network(torch.empty(2, 1, *size, device="meta")).shape == (2, 5, *size)


def test_long_sequences_take_the_memory_of_a_chunk():
    """U-Mamba Enc's lean form holds little more than its convolutions; the plain one the whole sequence."""
    size = (32, 64, 64)
    network = _network("umamba_enc", 3, _unet(3, size))
    plain, lean = (activation_bytes(network, (1, 1, *size), lean=form) for form in (False, True))
    assert lean < 0.6 * plain


def test_every_convolution_and_every_chunk_can_be_stopped():
    network = make_lean(_network("umamba_enc", 3, _unet(3, (16, 24, 20))))
    asked = []
    convolutions = {module for module in network.modules() if isinstance(module, nn.Conv3d)}
    ran = set()
    for module in convolutions:
        module.register_forward_pre_hook(lambda module, _given: ran.add(module))
    with torch.inference_mode(), asked_between_layers(network, lambda: asked.append(1)):
        network(torch.randn(1, 1, 16, 24, 20))
    unused = set(network.decoder.seg_layers[:-1])  # heads of deep supervision
    assert ran == convolutions - unused
    assert len(asked) > len(convolutions)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from mambaseg.lean import lean_check
check = lean_check()
assert not check.usable
print(check.reason)
"""


def test_without_numba_networks_run_as_they_are():
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("numba is not installed")


def test_random_weights_of_all_sizes_stay_finite():
    """A long sequence of large inputs: decays vanish, gates saturate, nothing overflows."""
    mamba = Mamba(16).eval()
    tokens = torch.from_numpy(np.random.default_rng(0).normal(0, 1000, (1, 3000, 16)).astype(np.float32))
    with torch.inference_mode():
        wanted, found = mamba(tokens), Streamed(mamba, 1)(tokens)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3 * float(wanted.abs().max()))
