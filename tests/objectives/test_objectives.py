"""Each objective: what it reads, that it learns, that it never cheats."""

from typing import Any

import pytest
import torch
from encoded import SHAPE, build, encoded_batch, row_of

from mgf_fairseq.objectives import OBJECTIVES, build_objectives
from mgf_fairseq.objectives.diversity import diversity
from mgf_fairseq.types import EncoderOutput, ObjectiveOutput

ALL = tuple(OBJECTIVES)


@pytest.mark.parametrize("name", ["sample", "frame", "phoneme"])
def test_a_padded_batch_equals_the_sum_over_unpadded_singles(name: str) -> None:
    objective = build(name)
    encoded, batch = encoded_batch()
    whole = objective(encoded, batch)
    parts = [objective(*row_of(encoded, batch, row)) for row in range(4)]
    # fp32 sums of a few hundred terms in another order.
    assert float(whole.loss_sum.detach()) == pytest.approx(
        sum(float(p.loss_sum.detach()) for p in parts), rel=1e-5
    )
    assert float(whole.count) == sum(float(p.count) for p in parts)


@pytest.mark.parametrize("name", ALL)
def test_no_gradient_reaches_the_waveform_that_targets_come_from(name: str) -> None:
    encoded, batch = encoded_batch()
    waveform = batch.waveform.requires_grad_()
    output = build(name)(encoded, batch)
    output.loss_sum.backward()
    assert waveform.grad is None


READS: tuple[tuple[str, dict[str, Any], set[str]], ...] = (
    ("sample", {}, {"latents"}),
    ("sample", {"level": "50%"}, {"1"}),
    ("frame", {}, {"1", "context"}),
    ("frame", {"level": "0", "masked_level": "none"}, {"0"}),
    ("frame", {"level": "latents", "masked_level": "1"}, {"latents", "1"}),
    ("phoneme", {}, {"latents", "context"}),
    ("phoneme", {"level": "1"}, {"latents", "1"}),
    ("utterance", {"level": "context"}, {"context"}),
    ("utterance", {"level": "1"}, {"1"}),
)


@pytest.mark.parametrize(("name", "changes", "levels"), READS)
def test_gradients_reach_just_the_levels_it_reads_and_all_its_own_parameters(
    name: str, changes: dict[str, Any], levels: set[str]
) -> None:
    objective = build(name, **changes)
    encoded, batch = encoded_batch()
    objective(encoded, batch).loss_sum.backward()
    every = {"latents": encoded.latents, "0": encoded.hidden_states[0]}
    every |= {"1": encoded.hidden_states[1], "context": encoded.context}
    reached = {k for k, x in every.items() if x.grad is not None and x.grad.abs().sum() > 0}
    assert reached == levels
    # The attention's last bias shifts all scores alike, which softmax does not see.
    silent = [k for k, p in objective.named_parameters() if p.grad is None]
    assert silent == []


def test_padding_gets_no_gradient() -> None:
    for name in ALL:
        encoded, batch = encoded_batch()
        build(name)(encoded, batch).loss_sum.backward()
        for x in (encoded.latents, *encoded.hidden_states):
            if x.grad is not None:
                assert x.grad[encoded.padding_mask].abs().sum() == 0


@pytest.mark.parametrize("name", ALL)
def test_a_batch_without_masks_gives_finite_sums_and_gradients(name: str) -> None:
    encoded, batch = encoded_batch(masked=False)
    output: ObjectiveOutput = build(name)(encoded, batch)
    output.loss_sum.backward()
    assert torch.isfinite(output.loss_sum)
    assert float(output.count) == 0 if name == "phoneme" else float(output.count) > 0


@pytest.mark.parametrize("name", ALL)
def test_constant_embeddings_keep_loss_and_gradient_finite(name: str) -> None:
    encoded, batch = encoded_batch()
    same = [torch.ones_like(x).requires_grad_() for x in encoded.hidden_states]
    flat = EncoderOutput(
        torch.ones_like(encoded.latents).requires_grad_(), same[-1], same,
        encoded.padding_mask, encoded.num_frames, encoded.mask_indices,
    )  # fmt: skip
    output = build(name)(flat, batch)
    output.loss_sum.backward()
    assert torch.isfinite(output.loss_sum)
    assert all(x.grad is None or torch.isfinite(x.grad).all() for x in (flat.latents, *same))
    if "diversity" in output.metrics:
        total, count = output.metrics["diversity"]
        assert float(total / count) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision_weights_and_levels_give_finite_fp32_sums(
    name: str, dtype: torch.dtype
) -> None:
    """What `common.fp16` and `common.bf16` make of the model; the waveform stays as it is."""
    encoded, batch = encoded_batch()
    half = {k: v.to(dtype) for k, v in vars(encoded).items() if k in ("latents", "context")}
    half["hidden_states"] = [x.to(dtype) for x in encoded.hidden_states]
    output = build(name).to(dtype)(EncoderOutput(**{**vars(encoded), **half}), batch)
    output.loss_sum.backward()
    assert output.loss_sum.dtype == torch.float32
    assert torch.isfinite(output.loss_sum)


def test_diversity_is_zero_for_equal_and_near_one_for_random_directions() -> None:
    total, count = diversity(torch.ones(50, 64))
    assert float(total / count) == pytest.approx(0.0, abs=1e-6)
    total, count = diversity(torch.randn(2000, 64, generator=torch.Generator().manual_seed(0)))
    assert float(total / count) > 0.99


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"phonem": {}}, "did you mean 'phoneme'"),
        ({"phoneme": {"num_negative": 3}}, "did you mean 'num_negatives'"),
        ({"phoneme": {"level": "7"}}, "level='7'"),
        ({"phoneme": {"level": "150%"}}, "level='150%'"),
        ({"phoneme": {"logit_temp": 0}}, "logit_temp=0.0 must be finite and greater"),
        ({"phoneme": {"logit_temp": "warm"}}, "logit_temp='warm' must be of type float"),
        ({"phoneme": {"frames": "visible"}}, "frames='visible'"),
        ({"phoneme": {"target_gradient": 1}}, "target_gradient=1 must be of type bool"),
        ({"frame": {"features": "mel"}}, "features='mel' must be a list"),
        ({"frame": {"features": ["melody"]}}, "melody"),
        ({"frame": {"frames": "some"}}, "frames='some'"),
        ({"sample": {"frames": "masked"}}, "'all'"),
        ({"utterance": {"kind": "triplet"}}, "kind='triplet'"),
        ({"utterance": {"pooling": "max"}}, "pooling='max'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(mapping: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r"model\.objectives") as error:
        build_objectives(mapping, SHAPE)
    assert message in str(error.value)
