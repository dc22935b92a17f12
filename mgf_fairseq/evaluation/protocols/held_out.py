"""What phone, speaker and label share: held-out parts, and one training of their probes.

Between these protocols and the probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import metrics as scores
from ..labeled import ProbeError
from ..options import ProbeOptions
from ..probes.examples import FrameExamples, PooledExamples
from ..probes.trainer import NotFinite, ProbeConfig, TrainedProbes, predict, train_probes
from ..results import SplitSize
from .base import Candidate, Outcome, Setup, choose


def probe_config(base: ProbeConfig, options: ProbeOptions) -> ProbeConfig:
    """A task's settings with what a person has chosen."""
    epochs = options.max_epochs or base.max_epochs
    return replace(base, hidden=options.hidden, max_epochs=epochs)


@dataclass(frozen=True)
class Parts:
    """Examples of one task, split."""

    train: FrameExamples | PooledExamples
    valid: FrameExamples | PooledExamples
    test: FrameExamples | PooledExamples
    sizes: dict[str, SplitSize]
    notes: list[str]


def train_and_predict(
    setup: Setup,
    parts: Parts,
    classes: list[str],
    metrics: Mapping[str, scores.Metric],
    majority: dict[str, int],
    config: ProbeConfig,
) -> tuple[Outcome, TrainedProbes]:
    """Learn on train, and predict with every layer on valid and test."""
    trained = _trained(setup, parts, len(classes), config)
    on_valid, on_test = (predict(trained, examples) for examples in (parts.valid, parts.test))
    rows, utterance = np.unique(parts.test.utterance, return_inverse=True)
    tested = setup.plan.splits[-1]
    candidates = []
    for k, layer in enumerate(setup.representations):
        valid: dict[str, list[float]] = {name: [] for name in metrics}
        for mine in on_valid[:, k]:
            counted = scores.tally(parts.valid.labels, mine, parts.valid.utterance, len(classes))
            for name, metric in metrics.items():
                valid[name].append(scores.score(metric, counted))
        candidates.append(Candidate(layer, None, valid, on_test[:, k].astype(np.int64)))
    outcome = Outcome(
        classes=classes,
        metrics=metrics,
        candidates=candidates,
        chosen=choose(candidates, setup.plan.metric),
        truth=parts.test.labels,
        utterance=utterance,
        entries=[tested.manifest.paths[row] for row in rows.tolist()],
        speakers=tested.lines_of("spk", rows.tolist()),
        majority=majority,
        sizes=parts.sizes,
        layer_weights=trained.probes.layer_weights().mean(dim=0).tolist(),
        notes=parts.notes,
    )
    return outcome, trained


def _trained(setup: Setup, parts: Parts, num_classes: int, config: ProbeConfig) -> TrainedProbes:
    seeds, device = setup.options.seeds, setup.device
    try:
        return train_probes(
            parts.train, parts.valid, num_classes, seeds, config, device, setup.progress
        )
    except NotFinite as error:
        raise unlearnable(setup.plan.name, setup.representations, error) from None


def unlearnable(task: str, representations: list[str], error: NotFinite) -> ProbeError:
    """The error of probes that cannot be trained, by the names of what they read."""
    names = ", ".join(representations[k] for k in error.representations)
    return ProbeError(
        f"{task}: the probes of {names} never had a finite loss on valid: look for NaN in the "
        "checkpoint's weights, or for features beyond the range of float16 (--dtype float32)"
    )
