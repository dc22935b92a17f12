"""The acoustic targets against librosa, closed forms, and their promise about padding."""

import copy
import math

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
from sounds_16k import FIELD, HOP, RATE, num_frames, run, voice

from mgf_fairseq.acoustics import spectrum
from mgf_fairseq.acoustics.features import FEATURES, LOG_ENERGY, LOG_F0, LOG_FLOOR, AcousticFeatures


def librosa_power(waveform):
    """(S,) -> (T, 201): librosa's spectrogram on the encoder's grid."""
    # One sample of padding completes the last hop; center=False starts window t at t * HOP.
    return (
        np.abs(librosa.stft(waveform.double().numpy(), n_fft=400, hop_length=HOP, center=False)).T
        ** 2
    )


@pytest.mark.parametrize("samples", [400, 719, 720, 16000])
def test_lps_mel_and_mfcc_equal_librosa(samples):
    waveform = voice(1, 140)[:samples]
    got = run(AcousticFeatures(normalization="none"), waveform[None])
    power = librosa_power(waveform)
    mel = np.log(
        np.maximum(librosa.feature.melspectrogram(S=power.T, sr=RATE, n_mels=80), LOG_FLOOR)
    )
    # fp32 FFT of values up to 1e3 against fp64: 1e-4 in the logarithm of bins near 1e-2.
    assert got["lps"].shape[1] == len(power) == num_frames(samples)
    np.testing.assert_allclose(got["lps"][0], np.log(np.maximum(power, LOG_FLOOR)), atol=2e-3)
    np.testing.assert_allclose(got["mel"][0].T, mel, atol=2e-4)
    cepstrum = librosa.feature.mfcc(S=mel, n_mfcc=13)
    np.testing.assert_allclose(got["mfcc"][0, :, :13].T, cepstrum, atol=2e-4)
    if len(power) >= 5:
        first = librosa.feature.delta(cepstrum, width=5, mode="nearest")
        second = librosa.feature.delta(first, width=5, mode="nearest")
        np.testing.assert_allclose(got["mfcc"][0, :, 13:26].T, first, atol=2e-4)
        np.testing.assert_allclose(got["mfcc"][0, :, 26:].T, second, atol=2e-4)


@pytest.mark.parametrize(("mels", "n_fft", "rate"), [(80, 400, 16000), (40, 512, 8000)])
def test_mel_filters_equal_librosa_and_none_is_empty(mels, n_fft, rate):
    got = spectrum.mel_filters(mels, n_fft, rate).numpy()
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=mels, dtype=np.float64).T
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert (got.sum(0) > 0).all()


def test_the_dct_equals_scipy():
    values = np.random.default_rng(0).normal(size=(5, 80))
    expected = scipy.fft.dct(values, norm="ortho")[:, :13]
    np.testing.assert_allclose(values @ spectrum.dct_matrix(80, 13).numpy(), expected, atol=1e-12)


def test_deltas_equal_the_slow_regression_formula_on_valid_frames():
    values, lengths = torch.randn(4, 9, 3, dtype=torch.float64), [9, 6, 2, 1]
    valid = torch.arange(9) < torch.tensor(lengths)[:, None]
    got = spectrum.deltas(values, valid)
    for b, n in enumerate(lengths):
        for t in range(n):
            total = sum(
                k * (values[b, min(t + k, n - 1)] - values[b, max(t - k, 0)]) for k in (1, 2)
            )
            torch.testing.assert_close(got[b, t], total / 10, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_fft", [400, 512, 800])
def test_a_frame_is_centered_on_the_receptive_field_and_sees_only_its_window(n_fft):
    module = AcousticFeatures(("lps",), n_fft=n_fft, normalization="none")
    silence = torch.zeros(1, 4000)
    for t in (0, 5):
        center = t * HOP + FIELD // 2
        for place in range(center - n_fft // 2 - 2, center + n_fft // 2 + 2):
            if not 0 <= place < 4000 or center - n_fft // 2 + 3 < place < center + n_fft // 2 - 3:
                continue
            click = silence.clone()
            click[0, place] = 1e4
            seen = bool((run(module, click)["lps"][0, t] > math.log(LOG_FLOOR) + 1).any())
            # A periodic Hann window is zero at its first sample.
            assert seen == (-n_fft // 2 < place - center < n_fft // 2), place - center


@pytest.mark.parametrize("normalization", ["global", "utterance", "none"])
def test_a_padded_row_equals_the_unpadded_row_whatever_fills_the_padding(normalization):
    module = AcousticFeatures(normalization=normalization)
    lengths = [9000, 4003, 1359, 400]
    batch = torch.full((4, 9000), math.nan)
    singles = [voice(1, f0)[:n] for f0, n in zip((110, 150, 190, 220), lengths, strict=True)]
    for row, single in zip(batch, singles, strict=True):
        row[: len(single)] = single
    got = run(module, batch, lengths)
    for b, single in enumerate(singles):
        alone = run(module, single[None])
        for name in FEATURES:
            n = alone[name].shape[1]
            # The batch size changes the blocking of the matrix products.
            torch.testing.assert_close(got[name][b, :n], alone[name][0], rtol=1e-4, atol=1e-4)
            assert not got[name][b, n:].any()


def test_appending_samples_does_not_change_earlier_frames():
    # Prosody looks 32 ms ahead and compares with the row's energy: not promised for real audio.
    module = AcousticFeatures(("lps", "mel"))
    waveform = voice(0.5, 120)
    before = run(module, waveform[None])
    after = run(module, torch.cat([waveform, torch.randn(3000)])[None])
    for name, values in before.items():
        torch.testing.assert_close(after[name][:, : values.shape[1]], values, atol=1e-4, rtol=1e-4)


def test_log_energy_is_the_log_of_the_mean_square():
    noise = 3 * torch.randn(1, 160000)
    got = run(AcousticFeatures(("prosody",), normalization="none"), noise)["prosody"]
    # 500 frames of 150 independent values: a relative deviation of 0.5 %.
    assert float(got[..., LOG_ENERGY].exp().mean()) == pytest.approx(9, rel=0.03)
    constant = run(AcousticFeatures(("prosody",), normalization="none"), torch.ones(1, 400))
    assert float(constant["prosody"][0, 0, LOG_ENERGY]) == pytest.approx(0, abs=1e-5)


def test_other_rates_and_hops_keep_their_meaning():
    module = AcousticFeatures(
        ("prosody",), sample_rate=8000, hop_length=80, receptive_field=200, normalization="none"
    )
    waveform = torch.sin(2 * math.pi * 150 * torch.arange(8000) / 8000)[None]
    frames = (8000 - 200) // 80 + 1
    got = module(
        waveform,
        torch.zeros(1, 8000, dtype=torch.bool),
        frames,
        torch.ones(1, frames, dtype=torch.bool),
    )
    f0 = got["prosody"][0, :, LOG_F0].exp()
    assert float((f0 / 150 - 1).abs().max()) < 0.03


@pytest.mark.parametrize("normalization", ["global", "utterance", "none"])
@pytest.mark.parametrize("value", [0.0, 0.7, 1e-9])
def test_silence_and_constants_are_finite(normalization, value):
    got = run(AcousticFeatures(normalization=normalization), torch.full((2, 3000), value))
    assert all(torch.isfinite(values).all() for values in got.values())
    clipped = (50 * voice(0.3, 120)).clamp(-1, 1)[None]
    got = run(AcousticFeatures(normalization=normalization), clipped)
    assert all(torch.isfinite(values).all() for values in got.values())


def test_half_precision_modules_and_autocast_keep_fp32_targets():
    module, waveform = AcousticFeatures(), voice(0.5, 150)[None]
    expected = run(module, waveform)
    half = copy.deepcopy(module).half().bfloat16()
    assert module.window.dtype == half.window.dtype == half.pitch.window.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(half, waveform)
    for name in FEATURES:
        assert got[name].dtype == torch.float32
        assert torch.equal(got[name], expected[name])


def test_targets_carry_no_gradient_and_nothing_is_saved():
    module = AcousticFeatures()
    got = run(module, voice(0.2, 150)[None].requires_grad_())
    assert not any(values.requires_grad for values in got.values())
    assert not module.state_dict()
    assert not list(module.parameters())


def test_dims_are_the_widths_of_the_requested_features():
    module = AcousticFeatures(("mfcc", "lps"), n_fft=512)
    got = run(module, torch.randn(1, 2000))
    assert {name: values.shape[-1] for name, values in got.items()} == module.dims
    assert module.dims == {"mfcc": 39, "lps": 257}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ("mels",)}, "mels"),
        ({"names": ()}, "features="),
        ({"names": ("mel", "mel")}, "distinct"),
        ({"normalization": "speaker"}, "speaker"),
        ({"n_fft": 401}, "401"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AcousticFeatures(**arguments)


def test_disagreeing_shapes_are_named():
    module, waveform = AcousticFeatures(), torch.zeros(2, 1000)
    with pytest.raises(ValueError, match=r"\(2, 999\) and \(2, 1000\)"):
        module(waveform, torch.zeros(2, 999) > 0, 2, torch.ones(2, 2) > 0)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 2\)"):
        module(waveform, torch.zeros(2, 1000) > 0, 2, torch.ones(2, 3) > 0)
