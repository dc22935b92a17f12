"""Decoders, heads and poolings: shapes, alignment, padding, and gradients where they are hard."""

import math

import numpy as np
import pytest
import torch

from mgf_fairseq.losses.reconstruction import si_sdr, si_sdr_loss
from mgf_fairseq.objectives.heads import (
    STD_FLOOR,
    AttentiveStatisticsPooling,
    FrameDecoder,
    MeanPooling,
    ProjectionHead,
    WaveformDecoder,
)

B, T, D = 3, 7, 16


# ---- waveform


@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("hop", [2, 320])
def test_waveform_decoder_gives_one_hop_of_samples_per_frame(frames, hop):
    decoder = WaveformDecoder(D, 8, hop_length=hop)
    samples = decoder(torch.randn(B, frames, D))
    assert samples.shape == (B, frames * hop)
    assert torch.isfinite(samples).all()


def test_overlap_add_equals_the_slow_weighted_mean_of_windows():
    decoder, hop, frames = WaveformDecoder(D, 8, hop_length=6), 6, 5
    windows = torch.randn(2, frames, 2 * hop)
    shape = np.hanning(2 * hop + 1)[:-1]
    total, weight = np.zeros((2, (frames + 1) * hop)), np.zeros((frames + 1) * hop)
    for k in range(frames):
        total[:, k * hop : (k + 2) * hop] += windows[:, k].numpy() * shape
        weight[k * hop : (k + 2) * hop] += shape
    kept = slice(hop // 2, -hop // 2)
    got = decoder._overlap_add(windows)
    np.testing.assert_allclose(got, total[:, kept] / weight[kept], atol=1e-6)


@pytest.mark.parametrize("frames", [1, 32])
def test_windows_cut_from_a_signal_give_the_signal_up_to_its_ends(frames):
    decoder, hop = WaveformDecoder(D, 8), 320
    signal = torch.randn(1, (frames + 1) * hop)
    got = decoder._overlap_add(signal.unfold(1, 2 * hop, hop))
    expected = signal[:, hop // 2 : -hop // 2]
    ratio = si_sdr(got, expected, torch.ones_like(expected, dtype=torch.bool))
    assert ratio.item() > 59.9  # dB; the loss's floor ends it at 60


def test_each_frame_sits_in_the_middle_of_its_cell():
    decoder = WaveformDecoder(D, 8)
    for convolution in decoder.convolutions:  # which reach no other frame
        torch.nn.init.zeros_(convolution.weight[..., ::2])
    torch.nn.init.ones_(decoder.to_samples.bias)
    frames = torch.randn(1, 6, D)
    moved = frames.clone()
    moved[0, 2] += 1
    changed = (decoder(frames) - decoder(moved))[0].abs() > 1e-7
    places = changed.nonzero()[:, 0]
    # Window of frame 2: its cell [640, 960) and half a hop on either side.
    assert int(places.min()) >= 2 * 320 - 160
    assert int(places.max()) < 3 * 320 + 160
    assert float((places.min() + places.max()) / 2) == pytest.approx(2.5 * 320, abs=4)


def test_the_first_output_of_a_waveform_decoder_is_small_but_can_be_trained_by_si_sdr():
    decoder = WaveformDecoder(D, 32)
    samples = decoder(torch.randn(2, 8, D))
    assert 1e-3 < samples.std().item() < 0.5
    target = torch.randn(2, 8 * 320)
    si_sdr_loss(samples, target, torch.ones(2, 8 * 320, dtype=torch.bool))[0].backward()
    for name, parameter in decoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_the_waveform_decoder_overfits_a_tone():
    decoder, frames = WaveformDecoder(D, 32), torch.randn(1, 6, D)
    target = torch.sin(2 * math.pi * 200 * torch.arange(6 * 320) / 16000)[None]
    valid = torch.ones_like(target, dtype=torch.bool)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss, _ = si_sdr_loss(decoder(frames), target, valid)
        loss.backward()
        optimizer.step()
    assert loss.item() < -15  # dB


# ---- frames and heads


@pytest.mark.parametrize("hidden", [0, 12])
def test_frame_decoder_predicts_each_feature_from_its_own_frame(hidden):
    decoder = FrameDecoder(D, {"mel": 80, "prosody": 3}, hidden)
    frames = torch.randn(B, T, D)
    got = decoder(frames)
    assert {k: tuple(v.shape) for k, v in got.items()} == {"mel": (B, T, 80), "prosody": (B, T, 3)}
    moved = frames.clone()
    moved[:, 3] = math.nan
    for name, values in decoder(moved).items():
        keep = [0, 1, 2, 4, 5, 6]
        torch.testing.assert_close(values[:, keep], got[name][:, keep])
    sum(values.square().sum() for values in got.values()).backward()
    assert all(parameter.grad.any() for parameter in decoder.parameters())


def test_projection_head_keeps_leading_axes():
    head = ProjectionHead(D, 5)
    assert head(torch.randn(B, T, D)).shape == (B, T, 5)
    assert head(torch.randn(B, D)).shape == (B, 5)


# ---- pooling

POOLINGS = [lambda: MeanPooling(D), lambda: AttentiveStatisticsPooling(D, 8)]


def padding(lengths):
    return torch.arange(T) >= torch.tensor(lengths)[:, None]


def test_mean_pooling_equals_the_slow_mean():
    hidden, lengths = torch.randn(B, T, D), [7, 4, 1]
    got = MeanPooling(D)(hidden, padding(lengths))
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(got[b], hidden[b, :n].double().mean(0), atol=1e-6)


def test_attentive_statistics_equal_the_slow_formula():
    pooling, lengths = AttentiveStatisticsPooling(D, 8), [7, 4, 1]
    hidden = torch.randn(B, T, D)
    got = pooling(hidden, padding(lengths)).detach()
    with torch.no_grad():
        for b, n in enumerate(lengths):
            x = hidden[b, :n].double().numpy()
            scores = np.array([float(pooling.attention(hidden[b, t])) for t in range(n)])
            weights = np.exp(scores) / np.exp(scores).sum()
            mean = weights @ x
            deviation = np.sqrt(weights @ x**2 - mean**2 + STD_FLOOR**2)
            np.testing.assert_allclose(got[b], np.concatenate([mean, deviation]), atol=1e-5)


def test_attention_weighs_frames_unequally():
    pooling = AttentiveStatisticsPooling(D, 8)
    torch.nn.init.normal_(pooling.attention[2].weight, std=10)
    hidden = torch.randn(1, T, D)
    mean = pooling(hidden, padding([7]))[0, :D]
    assert (mean - hidden[0].mean(0)).abs().max().item() > 0.1


@pytest.mark.parametrize("make", POOLINGS)
class TestPooling:
    def test_padding_never_counts(self, make):
        pooling, hidden, lengths = make(), torch.randn(B, T, D), [7, 4, 1]
        got = pooling(hidden, padding(lengths))
        assert got.shape == (B, pooling.output_dim)
        for b, n in enumerate(lengths):
            alone = pooling(hidden[b : b + 1, :n], torch.zeros(1, n, dtype=torch.bool))
            torch.testing.assert_close(got[b], alone[0], rtol=1e-5, atol=1e-6)
        filled = hidden.masked_fill(padding(lengths)[..., None], math.nan).requires_grad_()
        again = pooling(filled, padding(lengths))
        torch.testing.assert_close(again, got, rtol=1e-5, atol=1e-6)
        again.square().sum().backward()
        assert not filled.grad[padding(lengths)].any()
        assert filled.grad[~padding(lengths)].abs().sum(1).gt(0).all()
        assert all(torch.isfinite(p.grad).all() for p in pooling.parameters())

    @pytest.mark.parametrize("frames", [1, 5])
    def test_one_frame_and_constant_frames_have_finite_gradients(self, make, frames):
        pooling = make()
        hidden = torch.ones(2, frames, D, requires_grad=True)
        got = pooling(hidden, torch.zeros(2, frames, dtype=torch.bool))
        got.sum().backward()
        torch.testing.assert_close(got[:, :D], torch.ones(2, D))
        assert torch.isfinite(got).all()
        assert torch.isfinite(hidden.grad).all()

    def test_a_row_without_a_frame_is_finite_and_gives_no_gradient(self, make):
        pooling, hidden = make(), torch.randn(B, T, D, requires_grad=True)
        got = pooling(hidden, padding([7, 0, 2]))
        got.sum().backward()
        assert not got[1, :D].any()
        assert torch.isfinite(got).all()
        assert torch.isfinite(hidden.grad).all()
        assert not hidden.grad[1].any()

    def test_statistics_stay_fp32_under_autocast(self, make):
        hidden = (100 + torch.randn(B, T, D)).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = make()(hidden, padding([7, 4, 1]))
        assert got.dtype == torch.float32
        # bf16 would round a mean of 100 to a multiple of 0.5.
        assert (got[:, :D] * 2 % 1).abs().max().item() > 0

    def test_disagreeing_shapes_are_named(self, make):
        with pytest.raises(ValueError, match=r"\(3, 6\) and \(3, 7, 16\)"):
            make()(torch.randn(B, T, D), torch.zeros(3, 6, dtype=torch.bool))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: WaveformDecoder(D, 8, hop_length=3),
            "hop_length must be even and positive, got 3",
        ),
        (lambda: FrameDecoder(D, {}), "dims"),
        (lambda: FrameDecoder(D, {"mel": 0}), "mel must be at least 1, got 0"),
        (lambda: ProjectionHead(D, 0), "output_dim must be at least 1, got 0"),
        (lambda: MeanPooling(0), "input_dim must be at least 1, got 0"),
        (lambda: AttentiveStatisticsPooling(D, 0), "hidden_dim must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_named_with_their_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()
