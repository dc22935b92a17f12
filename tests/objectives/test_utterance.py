"""The utterance objective: pooling, and losses without what all rows share."""

from dataclasses import replace

import pytest
import torch
from encoded import build, encoded_batch

from mgf_fairseq.losses import contrastive
from mgf_fairseq.types import EncoderOutput


def test_rows_of_a_dummy_batch_do_not_count_for_the_utterance_objective() -> None:
    encoded, batch = encoded_batch()
    ignored = replace(batch, utterance=torch.full((4,), -1))
    output = build("utterance")(encoded, ignored)
    assert float(output.count) == 0
    output.loss_sum.backward()


@pytest.mark.parametrize("kind", ["info_nce", "binary"])
def test_the_utterance_loss_is_of_its_kind_on_embeddings_without_what_all_rows_share(
    kind: str,
) -> None:
    encoded, batch = encoded_batch((20, 20, 25, 25, 30, 30))
    objective = build("utterance", kind=kind, logit_temp=0.2)
    own = objective.embed(encoded)
    expected = contrastive.pairwise_discrimination(
        own - own.mean(0), batch.utterance, kind, logit_scale=5.0
    )
    output = objective(encoded, batch)
    # fp32: a mean of six rows, summed in another order.
    torch.testing.assert_close(output.loss_sum, expected[0], rtol=1e-5, atol=1e-5)
    for name, value in {"accuracy": expected[2], "chance": expected[3]}.items():
        torch.testing.assert_close(output.metrics[name][0], value)
    # Another offset of all rows changes nothing, so that it has no gradient.
    output.loss_sum.backward()
    bias, weight = (objective.head.layers[-1].get_parameter(n).grad for n in ("bias", "weight"))
    assert bias.abs().max() < 1e-4 * weight.abs().max()


def test_a_row_whose_chosen_frames_are_none_is_pooled_over_its_valid_frames_alone() -> None:
    encoded, _ = encoded_batch(masked=False)
    noise = torch.where(encoded.padding_mask[..., None], 100.0, encoded.context)
    noisy = EncoderOutput(**{**vars(encoded), "context": noise})
    for pooling in ("mean", "statistics"):
        objective = build("utterance", frames="masked", pooling=pooling)
        found = objective.embed(noisy)
        assert torch.equal(found, objective.embed(encoded))
        assert torch.equal(found, build("utterance", pooling=pooling).embed(encoded))
