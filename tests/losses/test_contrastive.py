"""The contrastive losses against slow NumPy oracles, closed forms and fairseq's own logits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mgf_fairseq.losses import contrastive

# fp64 against NumPy fp64: only the order of additions differs.
EXACT = 1e-10
TEMPERATURE = 0.1


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


# ---- InfoNCE on frames


def slow_info_nce(queries, positives, negatives, temperature, negative_valid):
    total, correct = 0.0, 0
    for m, query in enumerate(queries):
        positive = cosine(query, positives[m]) / temperature
        others = [
            cosine(query, negative) / temperature
            for n, negative in enumerate(negatives[m])
            if negative_valid[m, n] and not (negative == positives[m]).all()
        ]
        total += math.log(sum(math.exp(x) for x in [positive, *others])) - positive
        correct += all(positive > x for x in others) and len(others) > 0
    return total, len(queries), correct


@pytest.fixture
def frames():
    queries, pool = randn(12, 8), randn(20, 8)
    positives = pool[:12].clone()
    queries[:6] += 2 * positives[:6]
    index = torch.randint(20, (12, 6))
    index[3, 2] = 3  # a negative that is the positive
    pool[19] = positives[5]
    index[5, 0] = 19  # a copy of the positive from elsewhere
    pool[18, :4] = positives[2, :4]
    index[2, 1] = 18  # a negative that shares half of the components is one
    negative_valid = torch.rand(12, 6) < 0.8
    negative_valid[:, 1] = True
    return queries, positives, pool, index, negative_valid


def info_nce(queries, positives, negatives, valid=None):
    """Loss, count and wins of negatives (M, N, D), which are a pool of their own."""
    index = torch.arange(negatives.shape[0] * negatives.shape[1]).view(negatives.shape[:2])
    pool = negatives.flatten(0, 1)
    return contrastive.contrast_pool(queries, positives, pool, index, TEMPERATURE, valid)[:3]


@pytest.mark.parametrize("pool_size", [20, 60])  # both sides of N D = 48
def test_info_nce_equals_its_oracle(frames, pool_size):
    queries, positives, pool, index, negative_valid = frames
    pool = torch.cat([pool, randn(pool_size - len(pool), 8)])
    expected = slow_info_nce(
        *(x.numpy() for x in (queries, positives, pool[index])), TEMPERATURE, negative_valid.numpy()
    )
    got = contrastive.contrast_pool(queries, positives, pool, index, TEMPERATURE, negative_valid)
    assert [x.item() for x in got[:3]] == pytest.approx(list(expected), rel=EXACT)


def test_info_nce_equals_fairseq_on_the_same_negatives(frames):
    wav2vec2 = pytest.importorskip("fairseq.models.wav2vec.wav2vec2")
    queries, positives, pool, index, _ = (x.float() if x.is_floating_point() else x for x in frames)
    negatives = pool[index]  # (M, N, D); fairseq wants (N, B, T, D) with B = 1
    logits = wav2vec2.Wav2Vec2Model.compute_preds(
        SimpleNamespace(logit_temp=TEMPERATURE),
        queries[None],
        positives[None],
        negatives.transpose(0, 1)[:, None],
    )[:, 0].T  # (1 + N, 1, M) -> (M, 1 + N)
    assert logits.isinf().any()
    expected = F.cross_entropy(logits, torch.zeros(12, dtype=torch.long), reduction="sum")
    # As in fairseq.criterions.wav2vec_criterion: argmax is 0, but not argmin too.
    correct = ((logits.argmax(-1) == 0) & ~(logits.argmin(-1) == 0)).sum()
    loss, count, accurate = info_nce(queries, positives, negatives)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)  # fp32
    assert (count.item(), accurate.item()) == (12, correct.item())


def test_the_gradients_of_a_small_and_of_a_large_pool_agree(frames):
    queries, positives, pool, index, negative_valid = frames
    gradients = []
    for unused in (0, 40):  # both sides of N D = 48
        given = [x.clone().requires_grad_() for x in (queries, positives, pool)]
        whole = torch.cat([given[2], randn(unused, 8)])
        contrastive.contrast_pool(
            *given[:2], whole, index, TEMPERATURE, negative_valid
        ).loss_sum.backward()
        gradients.append([x.grad for x in given])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 5, 100])
def test_identical_embeddings_give_the_log_of_the_number_of_choices(count):
    queries = torch.ones(4, 8)
    # Another length, same direction: equal logits but not the positive itself.
    negatives = torch.full((4, count, 8), 2.0)
    loss, rows, accurate = info_nce(queries, queries, negatives)
    assert (loss / rows).item() == pytest.approx(math.log(count + 1), rel=1e-6)
    assert accurate.item() == 0  # a tie is not a win, as in fairseq


def test_negatives_that_are_the_positive_or_not_valid_have_no_effect():
    queries, positives = randn(3, 4).requires_grad_(), randn(3, 4)
    negatives = randn(3, 5, 4)
    kept, _, _ = info_nce(queries, positives, negatives[:, :3])
    negatives[:, 3] = positives
    valid = torch.tensor([True, True, True, True, False]).expand(3, 5)
    loss, _, _ = info_nce(queries, positives, negatives, valid)
    assert loss.item() == pytest.approx(kept.item(), rel=EXACT)


def test_info_nce_survives_collapse_zeros_no_negatives_and_no_rows():
    def run(queries, positives, pool, index, valid=None):
        return contrastive.contrast_pool(queries, positives, pool, index, TEMPERATURE, valid)[:3]

    index = torch.arange(5).expand(3, 5)
    for queries in (torch.zeros(3, 4), torch.ones(3, 4), torch.full((3, 4), 1e30)):
        queries = queries.requires_grad_()
        pool = queries[:1].expand(5, 4)
        loss, count, _ = run(queries, queries, pool, index)
        loss.backward()
        assert count.item() == 3
        assert loss.item() == pytest.approx(0, abs=1e-6)  # every negative is the positive
        assert torch.isfinite(queries.grad).all()
    queries = randn(3, 4).requires_grad_()
    loss, _, _ = run(queries, randn(3, 4), randn(5, 4), index, torch.zeros(3, 5, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(queries.grad).all()
    empty = randn(0, 4).requires_grad_()
    loss, count, accurate = run(empty, randn(0, 4), randn(5, 4), index[:0])
    loss.backward()
    assert [x.item() for x in (loss, count, accurate)] == [0, 0, 0]


def test_info_nce_names_disagreeing_shapes():
    index = torch.zeros(3, 2).long()
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        contrastive.contrast_pool(randn(3, 4), randn(2, 4), randn(6, 4), index, 0.1)
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        contrastive.contrast_pool(randn(3, 4), randn(3, 4), randn(6, 4), index[:2], 0.1)
    with pytest.raises(ValueError, match=r"width"):
        contrastive.contrast_pool(randn(3, 4), randn(3, 4), randn(6, 5), index, 0.1)


# ---- utterances


def slow_pairwise(embeddings, group, kind, scale):
    loss = count = correct = chance = 0.0
    rows = range(len(group))
    for i in rows:
        same = [j for j in rows if j != i and group[j] == group[i]]
        other = [j for j in rows if group[j] != group[i]]
        if not same or not other:
            continue
        logit = {j: scale * cosine(embeddings[i], embeddings[j]) for j in same + other}
        if kind == "info_nce":
            against = sum(math.exp(logit[j]) for j in other)
            terms = [math.log(math.exp(logit[p]) + against) - logit[p] for p in same]
            loss += np.mean(terms)
        else:
            positive = np.mean([math.log1p(math.exp(-logit[j])) for j in same])
            loss += (positive + np.mean([math.log1p(math.exp(logit[j])) for j in other])) / 2
        count += 1
        correct += max(logit, key=logit.__getitem__) in same
        chance += len(same) / (len(group) - 1)
    return loss, count, correct, chance


GROUP = torch.tensor([3, 0, 3, 1, 1, 3, 2])  # group 0 and 2 have no partner


@pytest.mark.parametrize("kind", ["info_nce", "binary"])
def test_pairwise_discrimination_equals_its_oracle(kind):
    embeddings = randn(7, 5) + randn(4, 5)[GROUP]
    got = contrastive.pairwise_discrimination(embeddings, GROUP, kind, 4.0)
    expected = slow_pairwise(embeddings.numpy(), GROUP.numpy(), kind, 4.0)
    assert [x.item() for x in got] == pytest.approx(list(expected), rel=EXACT)
    assert got[1].item() == 5


@pytest.mark.parametrize("kind", ["info_nce", "binary"])
def test_two_ranks_that_gather_make_the_sums_of_one(kind):
    embeddings = randn(8, 5)
    group = torch.tensor([0, 0, 1, 2, 1, 2, 2, 3])
    whole = contrastive.pairwise_discrimination(embeddings, group, kind)
    parts = [
        contrastive.pairwise_discrimination(
            embeddings[part],
            group[part],
            kind,
            gathered_embeddings=embeddings,
            gathered_group=group,
            offset=part.start,
        )
        for part in (slice(0, 3), slice(3, 8))
    ]
    for one, two, both in zip(*parts, whole, strict=True):
        assert (one + two).item() == pytest.approx(both.item(), rel=EXACT)


def test_identical_embeddings_are_at_chance():
    embeddings = torch.ones(8, 4).requires_grad_()
    group = torch.arange(4).repeat_interleave(2)
    loss, count, correct, chance = contrastive.pairwise_discrimination(
        embeddings, group, "info_nce"
    )
    loss.backward()
    assert (loss / count).item() == pytest.approx(math.log(6 + 1), rel=1e-6)
    assert correct.item() == pytest.approx(chance.item()) == pytest.approx(8 / 7)
    assert torch.isfinite(embeddings.grad).all()
    loss, count, _, _ = contrastive.pairwise_discrimination(embeddings, group, "binary", 0.0)
    assert (loss / count).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", ["info_nce", "binary"])
def test_perfectly_separated_groups_cost_nothing_and_are_all_retrieved(kind):
    embeddings = (torch.eye(3) - 1 / 3).repeat_interleave(2, 0)  # cosines 1 and -1/2
    group = torch.arange(3).repeat_interleave(2)
    loss, count, correct, _ = contrastive.pairwise_discrimination(embeddings, group, kind, 40.0)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert count.item() == correct.item() == 6


@pytest.mark.parametrize("kind", ["info_nce", "binary"])
@pytest.mark.parametrize("group", [[0, 0, 0], [0, 1, 2], [5]])
def test_rows_without_partner_or_negative_give_a_connected_zero(kind, group):
    embeddings = randn(len(group), 4).requires_grad_()
    sums = contrastive.pairwise_discrimination(embeddings, torch.tensor(group).long(), kind)
    sums[0].backward()
    assert [x.item() for x in sums] == [0, 0, 0, 0]
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


def test_every_row_that_counts_is_trained():
    embeddings = torch.zeros(7, 5).requires_grad_()
    contrastive.pairwise_discrimination(embeddings + randn(7, 5).float(), GROUP, "binary", 5.0)[
        0
    ].backward()
    assert embeddings.grad[[0, 2, 3, 4, 5]].abs().sum(1).gt(0).all()


def test_pairwise_discrimination_names_a_bad_kind_and_bad_shapes():
    with pytest.raises(ValueError, match=r"'triplet'"):
        contrastive.pairwise_discrimination(randn(3, 2), torch.arange(3), "triplet")
    with pytest.raises(ValueError, match=r"\(4,\) and \(3,\)"):
        contrastive.pairwise_discrimination(randn(3, 2), torch.arange(4), "binary")


def test_autocast_and_half_inputs_do_not_lower_the_precision(frames):
    queries, positives, pool, index, _ = frames
    q, p, pool = queries.float(), positives.float(), pool.float()
    calls = [
        lambda: contrastive.contrast_pool(q, p, pool, index, TEMPERATURE),
        lambda: contrastive.pairwise_discrimination(q[:7], GROUP, "binary"),
    ]
    for call in calls:
        plain = call()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = call()
        assert cast[0].dtype == torch.float32
        assert [x.item() for x in cast] == [x.item() for x in plain]
    halves = (x.half() for x in (q, p, pool))
    assert contrastive.contrast_pool(*halves, index, 0.1).loss_sum.dtype == torch.float32
