"""The frame objective: visible and masked frames."""

import dataclasses

import torch
from encoded import build, encoded_batch


def test_visible_and_masked_places_of_the_frame_objective_split_the_frames() -> None:
    encoded, batch = encoded_batch()
    output = build("frame", frames="visible")(encoded, batch)
    visible, masked = output.metrics["mel"][1], output.metrics["mel_masked"][1]
    assert float(masked) == float(encoded.mask_indices.sum())
    assert float(visible + masked) == float(encoded.num_frames.sum()) == float(output.count)
    # Three features at two places: the loss is the mean over the features.
    sums = [total for total, _ in output.metrics.values()]
    assert len(sums) == 6
    torch.testing.assert_close(output.loss_sum.detach(), sum(sums) / 3)


def test_acoustic_features_of_a_batch_are_computed_once_and_are_the_same_for_each_objective(
    monkeypatch,
):
    encoded, batch = encoded_batch()
    frame = build("frame", features=("mel", "mfcc", "prosody"))
    phoneme = build("phoneme", target="mfcc", offsets=(0,))
    alone = (
        frame.acoustic_targets(encoded, dataclasses.replace(batch)),
        phoneme.target_windows(encoded, dataclasses.replace(batch)),
    )
    targets = frame.acoustic_targets(encoded, batch)
    made = list(batch.shared)
    monkeypatch.setattr(phoneme.features, "power_spectrum", None)  # nothing is left to compute
    window = phoneme.target_windows(encoded, batch)
    assert made and list(batch.shared) == made
    assert torch.equal(window, alone[1])
    again = frame.acoustic_targets(encoded, batch)
    for name, values in alone[0].items():
        assert torch.equal(values, targets[name]) and torch.equal(values, again[name])
