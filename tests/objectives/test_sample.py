"""The sample objective: stretches of the waveform, and their loss."""

from dataclasses import replace

import pytest
import torch
from encoded import build, encoded_batch

from mgf_fairseq.losses.reconstruction import multi_resolution_stft_loss, si_sdr
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


@pytest.mark.parametrize(("decibels", "nats"), [(0.3, 0.0), (0.0, 0.7), (0.1, 2.0)])
def test_the_sample_loss_falls_with_si_sdr_and_with_the_distance_of_spectra_by_their_weights(
    decibels: float, nats: float
) -> None:
    encoded, batch = encoded_batch((30, 30))
    objective = build("sample", si_sdr_weight=decibels, stft_weight=nats)
    starts, _ = objective.segment_starts(encoded, batch)
    prediction = objective.decode_segments(starts, encoded)
    target = objective.cut_segments(starts, batch)
    valid = torch.ones_like(target, dtype=torch.bool)
    ratio = si_sdr(prediction, target, valid).sum()
    distance, _ = multi_resolution_stft_loss(prediction, target, valid)
    output = objective(encoded, batch)
    torch.testing.assert_close(output.loss_sum, nats * distance - decibels * ratio)
    torch.testing.assert_close(output.metrics["si_sdr"][0], ratio.detach())
    torch.testing.assert_close(output.metrics["stft"][0], distance.detach())


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
