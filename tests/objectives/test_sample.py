"""The sample objective: stretches of the waveform, and their loss."""

from dataclasses import replace

import pytest
import torch
from encoded import build, encoded_batch

from mgf_fairseq.losses.reconstruction import multi_resolution_stft_loss, si_sdr, snr_loss
from mgf_fairseq.types import EncoderOutput


def test_the_sample_objective_cuts_prediction_and_target_at_the_same_place() -> None:
    """A decoder that returns the samples of its frames must reconstruct perfectly."""
    encoded, batch = encoded_batch((30, 30))
    objective = build("sample")
    blocks = batch.waveform[:, 40:].unfold(1, 320, 320)[:, : encoded.latents.shape[1]]
    perfect = EncoderOutput(**{**vars(encoded), "latents": blocks})
    objective.decoder = torch.nn.Flatten()
    output = objective(perfect, batch)
    assert float(output.metrics["si_sdr"][0] / output.metrics["si_sdr"][1]) > 60
    assert float(output.metrics["stft"][0]) < 1e-3


@pytest.mark.parametrize(
    ("snr", "decibels", "nats"),
    [(0.2, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.7), (0.3, 0.1, 2.0)],
)
def test_the_sample_loss_is_the_weighted_sum_of_its_terms(
    snr: float, decibels: float, nats: float
) -> None:
    encoded, batch = encoded_batch((30, 30))
    objective = build("sample", snr_weight=snr, si_sdr_weight=decibels, stft_weight=nats)
    starts, _ = objective.segment_starts(encoded, batch)
    prediction = objective.decode_segments(starts, encoded)
    target = objective.cut_segments(starts, batch)
    valid = torch.ones_like(target, dtype=torch.bool)
    ratio = si_sdr(prediction, target, valid).sum()
    distance, _ = multi_resolution_stft_loss(prediction, target, valid)
    expected = snr * snr_loss(prediction, target, valid)[0] - decibels * ratio + nats * distance
    output = objective(encoded, batch)
    torch.testing.assert_close(output.loss_sum, expected)
    assert float(output.count) == 2
    torch.testing.assert_close(output.metrics["si_sdr"][0], ratio.detach())
    if nats:
        torch.testing.assert_close(output.metrics["stft"][0], distance.detach())
    else:
        assert "stft" not in output.metrics
    given = torch.autograd.grad(output.loss_sum, encoded.latents, retain_graph=True)[0]
    torch.testing.assert_close(given, torch.autograd.grad(expected, encoded.latents)[0])


def test_a_silent_stretch_is_not_counted_by_the_snr_of_the_sample_objective() -> None:
    encoded, batch = encoded_batch((30, 30))
    batch.waveform[1] = 0
    output = build("sample", snr_weight=0.1, si_sdr_weight=0.0, stft_weight=0.0)(encoded, batch)
    assert float(output.count) == 1
    output.loss_sum.backward()
    assert encoded.latents.grad is not None
    assert encoded.latents.grad.flatten(1).any(1).tolist() == [True, False]


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (-0.1, 1.0, 1.0), (1.0, float("inf"), 0.0)])
def test_weights_of_the_sample_terms_that_mean_nothing_are_refused(
    weights: tuple[float, float, float],
) -> None:
    names = ("snr_weight", "si_sdr_weight", "stft_weight")
    with pytest.raises(ValueError, match=r"snr_weight, si_sdr_weight, stft_weight=.* finite"):
        build("sample", **dict(zip(names, weights, strict=True)))


def test_stretches_of_the_sample_objective_start_at_every_frame_that_leaves_room() -> None:
    encoded, batch = encoded_batch((10, 10))
    objective = build("sample")  # stretches of 8 frames
    starts = set()
    for draw in range(60):
        moved = replace(batch, draw=draw)
        starts |= set(objective.segment_starts(encoded, moved)[0].tolist())
    # Three places, 120 draws: one is missed with probability 3 * (2/3)^120 < 1e-20.
    assert starts == {0, 1, 2}


def test_rows_shorter_than_a_segment_are_skipped_by_the_sample_objective() -> None:
    encoded, batch = encoded_batch((30, 30, 7, 7))
    assert float(build("sample")(encoded, batch).count) == 2
    output = build("sample", segment_frames=31)(encoded, batch)
    assert float(output.count) == 0
    output.loss_sum.backward()
    assert torch.isfinite(encoded.latents.grad).all()
