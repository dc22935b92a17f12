"""Classes of utterances, emotions above all: leave one speaker out, or one fold of the corpus.

A protocol of the evaluation; evaluation/probes/cross_validation.py trains, base.py scores what it
predicts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..labeled import LabeledManifest, ProbeError, check_disjoint, read_labeled
from ..options import ProbeOptions
from ..probes.cross_validation import FoldConfig, FoldError, FoldPredictions, cross_validate
from ..probes.examples import pool
from ..results import CHOSEN_PER_FOLD, WEIGHTED_SUM, Embeddings, SplitSize
from .base import Asked, Candidate, Index, Outcome, Setup, TaskPlan, choose, version_of

POOLING = ("mean", "mean+std")
Scores = npt.NDArray[np.float64]
_METRICS = {"uar": metrics.uar, "accuracy": metrics.accuracy}
_CONFIG = FoldConfig()


def _config(options: ProbeOptions) -> FoldConfig:
    return replace(_CONFIG, hidden=options.hidden)


def labeled_splits(data: Path, ending: str) -> list[str]:
    """The splits of a prepared folder that have labels of this ending."""
    return sorted(p.stem for p in data.glob(f"*.{ending}") if (data / f"{p.stem}.tsv").exists())


def plan_emotion(asked: Asked) -> TaskPlan:
    """All splits with emotions pooled; folds are those of `.fold`, else the speakers."""
    data = asked.data
    if not labeled_splits(data, "emo"):
        raise ProbeError(
            f"{data} has no .emo labels beside a manifest: mgf prepare SOURCE --dest {data} "
            "--labels emo,spk, with a column `emotion` in the table"
        )
    return plan_folds(asked, "emo", "uar")


def plan_folds(asked: Asked, ending: str, metric: str) -> TaskPlan:
    """All splits with labels of this ending pooled, for leaving one fold or speaker out."""
    data, options, names = asked.data, asked.options, labeled_splits(asked.data, ending)
    by_fold = any((data / f"{name}.fold").exists() for name in names) and ending != "emo"
    needed = [ending] if by_fold else [ending, "spk"]
    splits = [read_labeled(data, name, needed, ["fold", "spk"]) for name in names]
    with_folds = sum("fold" in split.labels for split in splits)
    if with_folds not in (0, len(splits)):
        raise ProbeError(f"{data}: some splits have .fold and some have not: prepare them together")
    kind, word = ("fold", "fold") if with_folds else ("spk", "speaker")
    folds = _lines(splits, kind)
    _check_folds(data, asked.task, word, folds, _lines(splits, ending), _speakers(splits))
    protocol = {
        "probe": options.probe_name,
        "items": f"one vector per utterance, {' and '.join(POOLING)} over its frames",
        "splits": f"leave one {word} out ({len(set(folds))} folds), over {', '.join(names)} pooled",
        "choice": f"per {word} left out, one L-BFGS run fits the probe of all other {word}s and "
        f"{_CONFIG.inner_folds} inner ones that lack a part of these each; their loss on that part "
        "says after how many iterations all are taken, their UAR on it which layer and pooling; "
        f"the {word} that is scored is in none of them",
        "uar": "recall per class over the pooled out-of-fold predictions of all folds, averaged",
        "valid": "UAR over the pooled inner predictions, averaged over outer folds; a little high, "
        "since the same predictions chose the number of iterations",
        "disjoint": check_disjoint(splits, "utterances") + _apart(splits),
        "features": "standardized per dimension by the utterances that a probe learns from",
        "weighted sum": "softmax weights over the layers' pooled statistics, learnt with the probe",
        "training": asdict(_config(options)),
        **options.stored,
        **version_of(asked.task),
    }
    return TaskPlan(asked.task, metric, splits, protocol, ending, by_fold=True)


def _speakers(splits: list[LabeledManifest]) -> list[str] | None:
    """Of all rows; None where a split has none."""
    return _lines(splits, "spk") if all("spk" in split.labels for split in splits) else None


def _apart(splits: list[LabeledManifest]) -> str:
    return "; no speaker in two folds" if _speakers(splits) else "; speakers are not known"


def _lines(splits: list[LabeledManifest], ending: str) -> list[str]:
    return [line for split in splits for line in split.labels[ending]]


def _check_folds(
    data: Path,
    task: str,
    word: str,
    folds: list[str],
    labels: list[str],
    speakers: list[str] | None,
) -> None:
    if len(set(labels)) < 2:
        raise ProbeError(f"{data}: all utterances have the {task} {labels[0]!r}")
    if len(set(folds)) < 3:
        raise ProbeError(
            f"{data} has {len(set(folds))} {word}(s), and {task} needs one {word} to score on "
            f"and others to train and to choose on: prepare at least 3 {word}s"
        )
    for label in sorted(set(labels)):
        held = {fold for fold, mine in zip(folds, labels, strict=True) if mine == label}
        if len(held) < 2:
            raise ProbeError(
                f"{data}: the {task} {label!r} comes from {word} {held.pop()!r} alone, so it is "
                f"absent from train when that {word} is held out: remove the label from the table"
            )
    home: dict[str, str] = {}
    for speaker, fold in zip(speakers or [], folds if speakers else [], strict=True):
        if home.setdefault(speaker, fold) != fold:
            raise ProbeError(
                f"{data}: speaker {speaker} is in the folds {home[speaker]} and {fold}, so the "
                "score would not be of unseen speakers: fix the fold column of the table"
            )


@dataclass(frozen=True)
class _Pool:
    """The utterances of all splits that could be read, one behind the other."""

    splits: list[LabeledManifest]
    kept: dict[str, list[int]]  # split -> rows
    ending: str

    def labels(self, ending: str) -> list[str]:
        """The lines of one kind of label."""
        return [split.labels[ending][row] for split in self.splits for row in self.kept[split.name]]

    @property
    def speakers(self) -> list[str] | None:
        """Who speaks; None where a split does not know."""
        return self.labels("spk") if _speakers(self.splits) else None


def run_folds(setup: Setup) -> Outcome:
    """Cross-validate every layer and their sum with every pooling."""
    splits, ending = setup.plan.splits, setup.plan.ending
    kind, word = ("fold", "fold") if "fold" in splits[0].labels else ("spk", "speaker")
    kept = {split.name: setup.stores[split.name].rows.tolist() for split in splits}
    whole = _Pool(splits, kept, ending)
    classes, truth = _number(whole.labels(ending))
    fold_names, folds = _number(whole.labels(kind))
    data, name = splits[0].data, setup.plan.name
    _check_folds(data, name, word, whole.labels(kind), whole.labels(ending), whole.speakers)
    pooled = {
        name: np.concatenate([pool(setup.stores[s.name], name)[0] for s in splits], axis=1)
        for name in POOLING
    }
    candidates, by_fold, weights = _cross_validated(
        setup, pooled, truth, len(classes), folds, [f"{word} {fold}" for fold in fold_names]
    )
    candidates.append(choose_per_fold(candidates, np.stack(by_fold), folds))
    heaviest = max(weights, key=lambda k: np.mean(candidates[k].valid["uar"]), default=None)
    hours = sum(setup.hours(split, kept[split.name]) for split in splits)
    size = SplitSize(utterances=len(truth), hours=round(hours, 4), items=len(truth))
    return Outcome(
        classes=classes,
        metrics={setup.plan.metric: _METRICS[setup.plan.metric], **_METRICS},
        candidates=candidates,
        chosen=len(candidates) - 1,
        truth=truth,
        utterance=np.arange(len(truth)),
        entries=[split.manifest.paths[row] for split in splits for row in kept[split.name]],
        speakers=whole.speakers,
        majority=dict.fromkeys(_METRICS, int(np.bincount(truth).argmax())),
        sizes={"train": size, "valid": size, "test": size},
        layer_weights=weights[heaviest] if heaviest is not None else [],
        notes=[
            f"each of {len(fold_names)} folds is test once, while the others are train and valid",
            *_counts(whole.labels(ending)),
        ],
        embeddings=_embeddings(setup, whole, pooled, candidates[:-1], weights),
    )


def _cross_validated(
    setup: Setup,
    pooled: dict[str, npt.NDArray[np.float32]],
    truth: Index,
    num_classes: int,
    folds: Index,
    fold_names: list[str],
) -> tuple[list[Candidate], list[Scores], dict[int, list[float]]]:
    """Each layer and the sum with each pooling; UAR on inner folds; the weights of the sums."""
    config = _config(setup.options)
    candidates: list[Candidate] = []
    by_fold: list[Scores] = []
    weights: dict[int, list[float]] = {}
    total = len(setup.representations) * len(POOLING)
    for layer in setup.representations:
        for pooling in POOLING:
            x = pooled[pooling]
            mine = x if layer == WEIGHTED_SUM else x[[setup.layers.index(layer)]]
            try:
                found = cross_validate(
                    mine, truth, folds, num_classes, setup.options.seeds, config, setup.device
                )
            except FoldError as error:
                raise ProbeError(
                    f"{setup.plan.name}: {layer}, {pooling}, with {fold_names[error.fold]} held "
                    f"out: {error}"
                ) from None
            inner = inner_scores(found, truth, num_classes)
            if layer == WEIGHTED_SUM:
                weights[len(candidates)] = found.layer_weights.tolist()
            by_fold.append(inner["uar"])
            valid = {name: score.mean(axis=1).tolist() for name, score in inner.items()}
            candidates.append(Candidate(layer, pooling, valid, found.test))
            if setup.progress:
                setup.progress("cross-validate", len(candidates), total)
    return candidates, by_fold, weights


def _embeddings(
    setup: Setup,
    whole: _Pool,
    pooled: dict[str, npt.NDArray[np.float32]],
    candidates: list[Candidate],
    weights: dict[int, list[float]],
) -> Embeddings | None:
    """The utterances as the best candidate has them, for the picture of emotions."""
    if setup.plan.name != "emotion":
        return None
    best = choose(candidates, "uar")
    vectors = pooled[candidates[best].pooling or POOLING[0]]
    position = 0 if candidates[best].layer == WEIGHTED_SUM else best // len(POOLING)
    if candidates[best].layer == WEIGHTED_SUM:
        share = np.asarray(weights[best], np.float32)
        scaled = vectors / vectors.std(axis=1, keepdims=True).clip(1e-6)
        vectors = np.einsum("l,lnd->nd", share, scaled)[None]
    return Embeddings(vectors[position], whole.labels(whole.ending), whole.labels("spk"))


def _number(names: list[str]) -> tuple[list[str], Index]:
    classes = sorted(set(names))
    position = {name: number for number, name in enumerate(classes)}
    return classes, np.array([position[name] for name in names], np.int64)


def _counts(emotions: list[str]) -> list[str]:
    counts = Counter(emotions)
    return ["recordings: " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts))]


def inner_scores(found: FoldPredictions, truth: Index, num_classes: int) -> dict[str, Scores]:
    """Each metric (S, F) on the inner folds' pooled predictions, without the outer fold."""
    seeds, folds, _ = found.valid.shape
    result: dict[str, Scores] = {name: np.zeros((seeds, folds)) for name in _METRICS}
    for seed in range(seeds):
        for fold in range(folds):
            mine = found.valid[seed, fold]
            kept = mine >= 0
            counted = metrics.tally(truth[kept], mine[kept], np.zeros(kept.sum(), int), num_classes)
            for name, metric in _METRICS.items():
                result[name][seed, fold] = metrics.score(metric, counted)
    return result


def choose_per_fold(
    candidates: list[Candidate],
    inner: Scores,
    folds: Index,
) -> Candidate:
    """Take for each seed and outer fold the candidate that its inner folds rate highest.

    `inner` is their UAR, (R, S, F). The fold that is scored has no say.
    """
    best = inner.argmax(axis=0)  # (S, F)
    predicted = np.stack([candidate.predicted for candidate in candidates])  # (R, S, N)
    seeds, items = np.arange(predicted.shape[1])[:, None], np.arange(predicted.shape[2])
    taken = predicted[best[:, folds], seeds, items]
    valid = {"uar": inner.max(axis=0).mean(axis=1).tolist()}
    return Candidate(CHOSEN_PER_FOLD, None, valid, taken)
