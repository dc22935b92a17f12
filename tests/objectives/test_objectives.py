"""Each objective: what it reads, that it learns, that it never cheats."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from mgf_fairseq.losses import contrastive
from mgf_fairseq.losses.reconstruction import multi_resolution_stft_loss, si_sdr
from mgf_fairseq.objectives import OBJECTIVES, build_objectives
from mgf_fairseq.objectives.diversity import diversity
from mgf_fairseq.objectives.levels import resolve_level
from mgf_fairseq.types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput

SHAPE = EncoderShape(
    latent_dim=12,
    embed_dim=16,
    num_layers=2,
    hop_length=320,
    receptive_field=400,
    sample_rate=16000,
)
ALL = tuple(OBJECTIVES)
FAST: dict[str, dict[str, Any]] = {
    "sample": {"segment_frames": 8, "hidden_dim": 16},
    "frame": {"hidden_dim": 16},
    "phoneme": {"final_dim": 8, "num_negatives": 5},
    "utterance": {"final_dim": 8},
}


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return build_objectives({name: {**FAST[name], **changes}}, SHAPE)[name]


def encoded_batch(frames: tuple[int, ...] = (30, 30, 20, 20), masked: bool = True) -> tuple:
    """Random encoder outputs with gradient, and the batch they would come from."""
    torch.manual_seed(1)
    rows, width = len(frames), max(frames)
    samples = [400 + 320 * (n - 1) for n in frames]
    padding = torch.arange(width) >= torch.tensor(frames)[:, None]
    mask = torch.zeros(rows, width, dtype=torch.bool)
    if masked:
        mask[:, 3:9] = True
    latents = torch.randn(rows, width, 12, requires_grad=True)
    states = [torch.randn(rows, width, 16, requires_grad=True) for _ in range(3)]
    encoded = EncoderOutput(latents, states[-1], states, padding, torch.tensor(frames), mask)
    waveform = torch.randn(rows, max(samples))
    padding_mask = torch.arange(max(samples)) >= torch.tensor(samples)[:, None]
    batch = Batch(
        waveform.masked_fill(padding_mask, 0),
        padding_mask,
        torch.arange(rows) // 2,
        torch.arange(rows),
        draw=5,
    )
    return encoded, batch


def row_of(encoded: EncoderOutput, batch: Batch, row: int) -> tuple[EncoderOutput, Batch]:
    """Cut one row out and drop its padding."""
    n = int(encoded.num_frames[row])
    s = int((~batch.padding_mask[row]).sum())
    pick = slice(row, row + 1)
    states = [x[pick, :n] for x in encoded.hidden_states]
    one = EncoderOutput(
        encoded.latents[pick, :n],
        states[-1],
        states,
        encoded.padding_mask[pick, :n],
        encoded.num_frames[pick],
        encoded.mask_indices[pick, :n],
    )
    return one, Batch(
        batch.waveform[pick, :s],
        batch.padding_mask[pick, :s],
        batch.utterance[pick],
        batch.row_id[pick],
        batch.draw,
    )


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


def test_detached_targets_keep_the_phoneme_objective_off_the_latents() -> None:
    encoded, batch = encoded_batch()
    build("phoneme", target_gradient=False)(encoded, batch).loss_sum.backward()
    assert encoded.latents.grad is None


def test_padding_gets_no_gradient() -> None:
    for name in ALL:
        encoded, batch = encoded_batch()
        build(name)(encoded, batch).loss_sum.backward()
        for x in (encoded.latents, *encoded.hidden_states):
            if x.grad is not None:
                assert x.grad[encoded.padding_mask].abs().sum() == 0


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


def test_negatives_come_from_the_own_row_are_never_the_positive_and_reach_every_place() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", num_negatives=200)
    index, there = objective.draw_negatives(encoded.mask_indices, batch)
    assert there.all()
    row = encoded.mask_indices.nonzero()[:, 0]
    own = torch.arange(len(row))[:, None]
    assert (index != own).all()
    assert (row[index] == row[:, None]).all()
    # 5 candidates, 200 draws: one is missed with probability 5 * 0.8^200 < 1e-18.
    assert all(len(set(line.tolist())) == 5 for line in index)


def test_cross_sample_negatives_come_from_other_rows_only() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", num_negatives=1, cross_sample_negatives=300)
    index = objective.draw_negatives(encoded.mask_indices, batch)[0][:, 1:]
    row = encoded.mask_indices.nonzero()[:, 0]
    assert (row[index] != row[:, None]).all()
    # 18 candidates, 300 draws: one is missed with probability 18 * (17/18)^300 < 1e-6.
    assert len(set(index[0].tolist())) == 18


def test_among_two_candidates_a_guess_is_right_every_second_time_and_costs_log_2() -> None:
    encoded, batch = encoded_batch()
    hot = build("phoneme", num_negatives=1, logit_temp=1e6)(encoded, batch)
    total, count = hot.metrics["chance"]
    assert float(count) == float(hot.count) == float(encoded.mask_indices.sum())
    assert float(total) == pytest.approx(float(count) / 2)
    assert float(hot.loss_sum.detach()) == pytest.approx(float(count) * math.log(2), rel=1e-4)


def test_negatives_change_with_the_update_and_stay_for_the_same_row_in_another_batch() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme")
    first, _ = objective.draw_negatives(encoded.mask_indices, batch)
    later = Batch(**{**vars(batch), "draw": 6})
    assert not torch.equal(first, objective.draw_negatives(encoded.mask_indices, later)[0])
    one, of_one = row_of(encoded, batch, 2)
    alone, _ = objective.draw_negatives(one.mask_indices, of_one)
    assert torch.equal(alone + 12, first[12:18])


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
        moved = Batch(**{**vars(batch), "draw": draw})
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


def test_rows_of_a_dummy_batch_do_not_count_for_the_utterance_objective() -> None:
    encoded, batch = encoded_batch()
    ignored = Batch(**{**vars(batch), "utterance": torch.full((4,), -1)})
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
    ("level", "expected"),
    [("latents", "latents"), ("context", "context"), ("0", "0"), ("50%", "1"), ("100%", "2")],
)
def test_levels_are_names_layers_or_shares_of_the_depth(level: str, expected: str) -> None:
    assert resolve_level(level, SHAPE) == expected


@pytest.mark.parametrize(("layers", "half"), [(2, "1"), (3, "2"), (5, "2"), (7, "4"), (12, "6")])
def test_half_of_an_odd_depth_is_the_even_one_of_the_two_layers_beside_it(
    layers: int, half: str
) -> None:
    assert resolve_level("50%", dataclasses.replace(SHAPE, num_layers=layers)) == half


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
