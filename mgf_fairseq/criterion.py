"""Criterion ``mgf``: the sum of the objectives, normalized over all ranks, and its log.

The last step before fairseq's trainer. It has no parameters and knows no objective by name.
Objectives are summed by weights of their losses or by shares of the gradient
(objectives/gradient_balance.py).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor

from .model import PretrainingOutput
from .monitoring.batch_log import log_means
from .monitoring.feature_deviation import feature_deviation
from .monitoring.nonfinite import Budget, guilty_rows, say_utterances, zero_of
from .objectives.gradient_balance import GradientBalance
from .objectives.terms import Term, parts_of
from .utils.distributed import all_reduce_sum
from .utils.settings import read_numbers, require_names

logger = logging.getLogger(__name__)


@dataclass
class MgfCriterionConfig(FairseqDataclass):
    """How the objectives are summed: by shares of the gradient or by weights, never both."""

    # None, not {}: from a checkpoint fairseq removes what a default mapping does not hold.
    gradient_shares: Any = field(
        default=None,
        metadata={
            "help": "part of an objective -> share of the gradient that reaches the encoder's "
            "levels, in any unit; 0 is as if the part were not there"
        },
    )
    loss_weights: Any = field(
        default_factory=dict,
        metadata={"help": "instead of shares: objective name -> weight of its mean loss"},
    )
    cosine_interval: int = field(
        default=200,
        metadata={"help": "updates between logged cosines of the objectives' gradients; 0: never"},
    )
    nonfinite_budget: int = field(
        default=20,
        metadata={
            "help": "updates of the last 1000 that may hold a NaN or an infinity, which is named "
            "and skipped; one more stops the training"
        },
    )
    sample_rate: int = II("task.sample_rate")


@register_criterion("mgf", dataclass=MgfCriterionConfig)
class MgfCriterion(FairseqCriterion):
    """Sum ``factor * loss_sum / count`` over parts of objectives, with counts summed over ranks.

    fairseq divides gradients by one ``sample_size``, objectives have a count each; so each is
    scaled here by ``ranks / count`` and ``sample_size`` is 1 per rank that has a batch. Under
    weights an objective is one part and its factor the weight; under shares the factors move, and
    the loss in the log is summed by the shares themselves, so that updates can be compared.
    """

    def __init__(self, cfg: MgfCriterionConfig, task: Any) -> None:
        super().__init__(task)
        self.loss_weights = read_numbers(cfg.loss_weights or {}, "criterion.loss_weights")
        self.gradient_shares = read_numbers(cfg.gradient_shares or {}, "criterion.gradient_shares")
        if self.loss_weights and self.gradient_shares:
            raise ValueError(
                "criterion.loss_weights and criterion.gradient_shares are two ways to sum the "
                f"objectives: weights are for {sorted(self.loss_weights)}, shares for "
                f"{sorted(self.gradient_shares)}; give one of them"
            )
        built: dict[str, tuple[str, ...]] = task.objective_parts
        if not built:
            raise ValueError(
                "model.objectives is empty, so there is nothing to train; "
                "choose some, such as objectives=all"
            )
        self.parts = built  # objective -> its parts
        parts = [part for names in built.values() for part in names]
        if self.gradient_shares:
            require_names("criterion.gradient_shares", self.gradient_shares, parts)
            if not any(self.gradient_shares.values()):
                raise ValueError("criterion.gradient_shares are all 0, so nothing would train")
        else:
            require_names("criterion.loss_weights", self.loss_weights, built)
        self.balance = GradientBalance(parts, self.gradient_shares or None)
        if cfg.cosine_interval < 0:
            raise ValueError(
                f"criterion.cosine_interval={cfg.cosine_interval} must not be negative"
            )
        self.cosine_interval = cfg.cosine_interval
        self.sample_rate = cfg.sample_rate
        self.budget = Budget(cfg.nonfinite_budget)
        self.update = 1  # that the next batch is for, see begin_update

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of one batch.

        Returns:
            the loss in nats, to be summed over ranks and divided by the summed sample size; the
            sample size; sums for the log, under the same keys on every rank and step.
        """
        output: PretrainingOutput = model(**sample["net_input"])
        active = int(not sample.get("ignore", False))
        # An objective may read a low level only; yet DDP waits for a gradient of every parameter.
        anchor = output.encoded.context.float().sum() * 0.0
        terms = self._terms(output)
        own = torch.stack([term.count for term in terms] + [anchor.new_ones(())]).float()
        sums = [part.loss_sum.float() for part in output.objectives.values()]
        bad = ~torch.stack([*sums, anchor]).isfinite()
        totals = all_reduce_sum(torch.cat([own * active, bad.float()]))
        counts, ranks = totals[: len(terms)], totals[len(terms)]
        counted = self._counted(totals[len(own) :], bad, output, sample)
        factors = self._factors(anchor.device)
        loss = anchor if all(counted.values()) else zero_of(model)
        shown = loss.detach()
        for term, total, factor in zip(terms, counts, factors, strict=True):
            if counted[term.objective]:
                scaled = term.loss_sum.float() * (ranks / total.clamp(min=1.0)) * active
                loss = loss + scaled * factor
                shown = shown + scaled.detach() * term.shown
        if output.views:
            self._compare(output, active, all(counted.values()))
            self.balance.listen(loss, output.views, ranks, self._per_part(counts > 0))
        log = self._logging_output(shown, output, sample, counted)
        # All ranks count the same, so each hands over its share.
        log["num_nonfinite"] = list(counted.values()).count(False) / ranks.clamp(min=1.0)
        return loss, active, {key: value * active for key, value in log.items()}

    def _terms(self, output: PretrainingOutput) -> list[Term]:
        """List what is summed, in the order of the factors: objectives, or their parts."""
        if not self.gradient_shares:
            return [
                Term(name, part.loss_sum, part.count, self.loss_weights[name])
                for name, part in output.objectives.items()
            ]
        whole = sum(self.gradient_shares.values())
        return [
            Term(
                name,
                *parts_of(name, objective, self.parts[name])[part],
                self.gradient_shares[part] / whole,
            )
            for name, objective in output.objectives.items()
            for part in self.parts[name]
        ]

    def _factors(self, device: torch.device) -> Sequence[Tensor | float]:
        """Give the factor of each term's mean loss."""
        if self.gradient_shares:
            return self.balance.factors(device).float().unbind()
        return [self.loss_weights[name] for name in self.parts]

    def _per_part(self, values: Tensor) -> Tensor:
        """Bring values of terms to parts: (terms,) -> (K,)."""
        if self.gradient_shares:
            return values
        sizes = map(len, self.parts.values())
        return torch.cat([x.expand(size) for x, size in zip(values, sizes, strict=True)])

    def _compare(self, output: PretrainingOutput, active: int, all_counted: bool) -> None:
        """Every cosine_interval updates, measure the angles between the gradients of all parts."""
        shared = output.encoded.latents  # where every objective's gradient passes
        due = self.cosine_interval > 0 and self.update % self.cosine_interval == 0
        if due and all_counted and shared.requires_grad and len(self.balance.parts) > 1:
            self.balance.compare(
                {
                    part: loss_sum * active
                    for name, objective in output.objectives.items()
                    for part, (loss_sum, _) in parts_of(name, objective, self.parts[name]).items()
                },
                shared,
            )

    def begin_update(self, update: int) -> None:
        """Take the number of the update that the next batch is for, counted from 1."""
        self.update = update

    def spend_budget(self) -> None:
        """Count this update as one with a NaN or an infinity.

        Raises:
            NonFiniteError: there were too many (``criterion.nonfinite_budget``).
        """
        self.budget.spend(self.update)

    def skip_update(self) -> None:
        """Forget what an update has measured whose step is skipped."""
        self.balance.drop()

    def finish_update(self) -> None:
        """Take what an update has measured into the balance, on every rank, before it steps."""
        device = self.balance.device
        factors = torch.stack([torch.as_tensor(x, device=device) for x in self._factors(device)])
        self.balance.finish(self._per_part(factors.double()))

    def _counted(
        self, everywhere: Tensor, here: Tensor, output: PretrainingOutput, sample: dict[str, Any]
    ) -> dict[str, bool]:
        """Decide which objectives count: on no rank if the loss is not finite on one.

        All ranks skip the same: the gather of some has a backward that they take together.

        Args:
            everywhere: (K + 1,) how many ranks have it: each objective, then the encoder, whose
                NaN skips all.
            here: (K + 1,) bool, whether this rank has.
            output: what the model made.
            sample: the batch.
        """
        if not bool(everywhere.any()):  # the one value that the healthy path reads from the device
            return dict.fromkeys(output.objectives, True)
        names = list(output.objectives)
        *objectives, encoder = (everywhere > 0).tolist()
        counted = {name: not (bad or encoder) for name, bad in zip(names, objectives, strict=True)}
        # What gathers over ranks is not finite on all of them: with a bad encoder somewhere, only
        # the ranks that have it know the cause.
        if bool(here[-1] if encoder else here.any()):
            rows = guilty_rows(output.encoded, sample["net_input"]["source"])
            logger.warning(
                "update %d%s: not finite: %s; %s. Skipped in this update on all ranks: %s",
                self.update,
                "" if self.training else ", validation",
                ", ".join(itertools.compress([*names, "encoder"], here.tolist())),
                say_utterances(sample["entries"], rows),
                ", ".join(name for name, counts in counted.items() if not counts),
            )
        if self.training:
            self.spend_budget()
        return counted

    def _logging_output(
        self,
        loss: Tensor,
        output: PretrainingOutput,
        sample: dict[str, Any],
        counted: dict[str, bool],
    ) -> dict[str, Any]:
        """Collect sums and counts, all of which may be added over ranks and micro-batches."""
        padding_mask = sample["net_input"]["padding_mask"]
        log: dict[str, Any] = {
            "loss": loss.detach(),
            "sample_size": 1,
            "nsentences": len(padding_mask),
            "ntokens": output.encoded.num_frames.sum(),
            "audio_s": (~padding_mask).sum() / self.sample_rate,
            "padding_s": padding_mask.sum() / self.sample_rate,
            "num_skipped": sample["num_skipped"],
            "num_whole": int(all(counted.values())),
        }
        for name, part in output.objectives.items():
            measured = {f"loss_{name}": (part.loss_sum.detach(), part.count)}
            measured |= {f"{name}_{metric}": pair for metric, pair in part.metrics.items()}
            for key, (total, count) in measured.items():
                if not counted[name]:
                    total, count = torch.zeros_like(total), torch.zeros_like(count)
                log[f"sum:{key}"], log[f"count:{key}"] = total, count
        for level, deviation in feature_deviation(output.encoded).items():
            finite = deviation.isfinite()
            log[f"sum:std_{level}"] = torch.where(finite, deviation, 0.0)
            log[f"count:std_{level}"] = finite
        return log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the means of all ranks' sums under ``loss``, ``loss_<objective>``, and so on."""
        log_means(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Sums only, and the same keys everywhere: fairseq may add before it reduces."""
        return True
