"""Looks whether validation measures what the best checkpoint is to be chosen by, before training.

fairseq looks it up at the first validation, which may be hours away.
:mod:`mgf_fairseq.host.checkpointing` asks once the model is loaded, on every rank together.
"""

from __future__ import annotations

from typing import Any

from fairseq.logging import metrics

from ..utils.suggestions import near_or_all
from .start_checks import SettingsError

ALWAYS = "loss"  # every criterion logs it
_HIGH, _LOW = ("accuracy", "bleu", "si_sdr"), ("loss", "wer", "uer", "ppl")  # are better
_TRIES = 20  # batches; a metric may need words, say, which not every batch has


def require_best_metric(trainer: Any) -> None:
    """Validate a batch, and more if that does not measure it.

    Raises:
        SettingsError: none of them did, and what they measured is named; or the best checkpoint
            would be the worst.
    """
    cfg = trainer.cfg
    key, highest = (
        cfg.checkpoint.best_checkpoint_metric,
        cfg.checkpoint.maximize_best_checkpoint_metric,
    )
    _require_measured(trainer, cfg, key)
    if key.endswith(_LOW if highest else _HIGH) and not cfg.dataset.disable_validation:
        raise SettingsError(
            f"checkpoint.best_checkpoint_metric={key} would keep the worst checkpoint: set "
            f"checkpoint.maximize_best_checkpoint_metric={str(not highest).lower()}"
        )


def _require_measured(trainer: Any, cfg: Any, key: str) -> None:
    # A task with such a hook may add numbers after the last batch.
    if key == ALWAYS or cfg.dataset.disable_validation or hasattr(trainer.task, "post_validate"):
        return
    subset = cfg.dataset.valid_subset.split(",")[0]
    iterator = trainer.get_valid_iterator(subset)
    measured: set[str] = set()
    with metrics.aggregate(new_root=True) as found:
        # The same batches on every rank, and read here: an iterator would leave workers behind.
        for indices in iterator.frozen_batches[:_TRIES]:
            batch = iterator.collate_fn([iterator.dataset[index] for index in indices])
            if batch:
                trainer.valid_step(batch)
                measured = set(found.get_smoothed_values())
            if key in measured:
                return
    shown = ", ".join(sorted(name for name in measured if not name.startswith("_")))
    raise SettingsError(
        f"checkpoint.best_checkpoint_metric={key} is nothing that validation on {subset} measures "
        f"({shown}); {near_or_all(key, measured)}"
    )
