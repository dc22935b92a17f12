"""The frame objective: visible and masked frames."""

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
