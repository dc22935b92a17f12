"""Contrastive losses, as pure functions that return a sum and the count that it covers.

The phoneme and utterance objectives call them; whether targets get a gradient is the objective's
decision, because a projection of the targets may be trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.rng import vector_keys
from .precision import check_same, in_full_precision

NORM_FLOOR = 1e-6  # cosine of a shorter vector shrinks to 0 instead of dividing by 0


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=NORM_FLOOR)


class Contrast(NamedTuple):
    """Sums over the queries of a contrastive loss, and what guessing would give; all ()."""

    loss_sum: Tensor  # in nats
    num_queries: Tensor
    correct: Tensor  # queries whose positive wins
    chance: Tensor  # sum of 1 / (1 + distinct negatives): queries that guessing gets right
    guess: Tensor  # sum of log(1 + negatives): what equal logits cost, in nats


def _contrast(
    positive: Tensor, negative: Tensor, counted: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (M,) and (M, N) -> cross-entropy sum, count and fairseq's count of correct rows.

    counted (M,) bool; None: all are. Correct as in fairseq `Wav2vecCriterion.forward`: argmax is
    the positive and argmin is not.
    """
    logits = torch.cat([positive[:, None], negative], dim=1)  # -> (M, 1 + N)
    losses = torch.logsumexp(logits, dim=1) - positive
    with torch.no_grad():
        first = logits.argmax(1) == 0
        correct = first & (logits.argmin(1) != 0) if len(logits) else first
    if counted is None:
        count = losses.new_full((), len(losses))
    else:
        losses, correct = losses.masked_fill(~counted, 0), correct & counted
        count = counted.sum().to(losses.dtype)
    return losses.sum(), count, correct.sum().to(losses.dtype)


@in_full_precision
def contrast_pool(
    queries: Tensor,
    positives: Tensor,
    pool: Tensor,
    negative_index: Tensor,
    temperature: float,
    negative_valid: Tensor | None = None,
) -> Contrast:
    """Contrastive cross-entropy in nats over cosine similarities (wav2vec 2.0, eq. 3).

    queries, positives (M, D); pool (R, D), of which `pool[negative_index]` are the negatives;
    negative_index (M, N) int64; negative_valid (M, N) bool. Negatives that equal the positive in
    every component, as in fairseq `Wav2Vec2Model.compute_preds`, or are not valid are skipped. One
    that was drawn twice counts twice in the loss, and once for chance. While R < N D the M x R
    similarities are fewer numbers than the M x N vectors, and one matrix product makes them.
    Gradients reach all inputs: the objective detaches what it must. Raises ValueError when shapes
    disagree.
    """
    check_same("contrast_pool queries and positives", queries.shape, positives.shape)
    check_same("contrast_pool pool and queries, width", pool.shape[1:], queries.shape[1:])
    check_same("contrast_pool rows of index", negative_index.shape[:1], queries.shape[:1])
    skipped = vector_keys(pool)[negative_index] == vector_keys(positives)[:, None]  # (M, N)
    if negative_valid is not None:
        check_same("contrast_pool negative_valid, index", negative_valid.shape, skipped.shape)
        skipped = skipped | ~negative_valid
    query, candidates = _unit(queries), _unit(pool)
    positive = (query * _unit(positives)).sum(-1) / temperature
    if len(pool) < negative_index.shape[1] * pool.shape[1]:
        negative = (query @ candidates.T).gather(1, negative_index)  # (M, R) -> (M, N)
    else:
        negative = torch.einsum("md,mnd->mn", query, candidates[negative_index])
    sums = _contrast(positive, (negative / temperature).masked_fill(skipped, float("-inf")))
    with torch.no_grad():
        ordered = negative_index.masked_fill(skipped, -1).sort(dim=1).values
        fresh = (ordered.diff(dim=1, prepend=ordered.new_full((len(ordered), 1), -1)) != 0).sum(1)
        chance, guess = (1.0 / (1 + fresh)).sum(), (1.0 + (~skipped).sum(1)).log().sum()
    return Contrast(*sums, chance.to(sums[0].dtype), guess.to(sums[0].dtype))


@in_full_precision
def contrast_rows(
    queries: Tensor,
    keys: Tensor,
    asked: Tensor,
    valid: Tensor,
    temperature: float,
    index: Tensor | None = None,
) -> Contrast:
    """`contrast_pool` of each asked frame against all other valid frames of its row.

    queries, keys (B, T, D): the positive of a query is the key of the same frame; asked, valid
    (B, T) bool; index (M,) int64, the asked valid frames among all B * T, if it is known: else a
    GPU must be waited for. Keys that equal the positive in every component are skipped, and a query
    without a negative is not counted. Raises ValueError when shapes disagree.
    """
    check_same("contrast_rows queries and keys", queries.shape, keys.shape)
    check_same("contrast_rows asked and queries", asked.shape, queries.shape[:2])
    check_same("contrast_rows valid and queries", valid.shape, queries.shape[:2])
    same = vector_keys(keys)  # (B, T)
    counted = valid[:, None, :] & (same[:, :, None] != same[:, None, :])  # (B, T, T)
    if index is None:
        index = (asked & valid).flatten().nonzero()[:, 0]
    every = len(index) == valid.numel()  # all frames count, in order: nothing to copy
    if not every:
        queries, keys = (x.masked_fill(~valid[..., None], 0) for x in (queries, keys))
    logits = _unit(queries) @ _unit(keys).transpose(1, 2) / temperature  # (B, T, T)
    positive = logits.diagonal(dim1=1, dim2=2).flatten()  # (B * T,)
    negative, against = logits.flatten(0, 1), counted.flatten(0, 1)  # (B * T, T)
    if not every:
        positive, negative, against = (
            values.index_select(0, index) for values in (positive, negative, against)
        )  # (M,), (M, T), (M, T)
    others = against.sum(1).to(positive.dtype)
    has = others > 0
    sums = _contrast(positive, negative.masked_fill(~against, float("-inf")), has)
    return Contrast(*sums, (has / (1 + others)).sum(), (1 + others).log().sum())


def _pair_loss(logits: Tensor, same: Tensor, other: Tensor, kind: str) -> Tensor:
    """(B, G) logits and masks -> (B,) loss; every row has at least one pair of each mask."""
    if kind == "binary":
        positive = (F.softplus(-logits) * same).sum(1) / same.sum(1)
        negative = (F.softplus(logits) * other).sum(1) / other.sum(1)
        return (positive + negative) / 2
    against = torch.logsumexp(logits.masked_fill(~other, float("-inf")), dim=1, keepdim=True)
    return (F.softplus(against - logits) * same).sum(1) / same.sum(1)


@in_full_precision
def pairwise_discrimination(
    embeddings: Tensor,
    group: Tensor,
    kind: str,
    logit_scale: float = 10.0,
    gathered_embeddings: Tensor | None = None,
    gathered_group: Tensor | None = None,
    offset: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do two rows belong together? In nats per row, against all other rows of the batch.

    embeddings (B, E); group (B,) int64, equal numbers belong together; logits are
    logit_scale * cosine. Kind "info_nce": for each other row of the group (averaged),
    cross-entropy against all rows of other groups. Kind "binary": logistic loss on all pairs, where
    a row's positives together weigh as much as its negatives together. `gathered_*` (G, E), (G,)
    are the rows of all ranks, ours starting at `offset`. Rows without a partner or without a
    negative are not counted. Returns (loss_sum, count, retrieval_correct_sum, chance_sum): the
    nearest other row is of the same group (ties count in proportion), and the share of others that
    is. Raises ValueError on unknown kind or disagreeing shapes.
    """
    if kind not in ("info_nce", "binary"):
        raise ValueError(f"pairwise_discrimination: kind {kind!r} is not 'info_nce' or 'binary'")
    pool = embeddings if gathered_embeddings is None else gathered_embeddings
    pool_group = group if gathered_group is None else gathered_group
    check_same("pairwise_discrimination group", group.shape, embeddings.shape[:1])
    check_same("pairwise_discrimination gathered_group", pool_group.shape, pool.shape[:1])
    itself = torch.arange(len(pool), device=group.device) == (
        torch.arange(len(group), device=group.device)[:, None] + offset
    )  # (B, G)
    same = (pool_group == group[:, None]) & ~itself
    other = pool_group != group[:, None]
    counted = same.any(1) & other.any(1)  # (B,)
    similarity = _unit(embeddings) @ _unit(pool).T  # -> (B, G)
    every = ~counted[:, None]  # uncounted rows get full masks: finite there, and dropped below
    loss = _pair_loss(similarity * logit_scale, same | every, other | every, kind)
    with torch.no_grad():
        nearest = similarity.masked_fill(itself, float("-inf"))
        best = torch.cat([nearest, nearest.new_full((len(nearest), 1), -2.0)], 1).amax(1, True)
        nearest = nearest == best  # -2 is below every cosine: a maximum even of no rows
        correct = (nearest & same).sum(1).to(loss.dtype) / nearest.sum(1)
        chance = same.sum(1).to(loss.dtype) / (~itself).sum(1).clamp(min=1)
    sums = [value.masked_fill(~counted, 0).sum() for value in (loss, correct, chance)]
    return sums[0], counted.sum().to(loss.dtype), sums[1], sums[2]
