"""Emotion classification: leave one speaker out, or one fold where the corpus has folds.

A protocol of the evaluation; folds.py trains, outcome.py scores what it predicts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import scores
from .folds import FoldConfig, FoldPredictions, cross_validate
from .items import LabelledManifest, ProbeError, check_disjoint, pool, read_labelled
from .outcome import Candidate, Index, Outcome, ProbeOptions, Setup, TaskPlan, choose
from .results import CHOSEN_PER_FOLD, WEIGHTED_SUM, Embeddings, SplitSize
from .versions import version_of

POOLING = ("mean", "mean+std")
Scores = npt.NDArray[np.float64]
_METRICS = {"uar": scores.uar, "accuracy": scores.accuracy}
_CONFIG = FoldConfig()


def _config(options: ProbeOptions) -> FoldConfig:
    return replace(_CONFIG, hidden=options.hidden)


def plan_emotion(data: Path, options: ProbeOptions) -> TaskPlan:
    """All splits with emotions pooled; folds are those of `.fold`, else the speakers."""
    names = sorted(path.stem for path in data.glob("*.emo") if (data / f"{path.stem}.tsv").exists())
    if not names:
        raise ProbeError(
            f"{data} has no .emo labels beside a manifest: mgf prepare SOURCE --dest {data} "
            "--labels emo,spk, with a column `emotion` in the table"
        )
    splits = [read_labelled(data, name, ["emo", "spk"], ["fold"]) for name in names]
    with_folds = sum("fold" in split.labels for split in splits)
    if with_folds not in (0, len(splits)):
        raise ProbeError(f"{data}: some splits have .fold and some have not: prepare them together")
    kind = "fold" if with_folds else "spk"
    word = "fold" if with_folds else "speaker"
    folds, emotions = _lines(splits, kind), _lines(splits, "emo")
    _check_folds(data, word, folds, emotions, _lines(splits, "spk"))
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
        "disjoint": check_disjoint(splits, "utterances") + "; no speaker in two folds",
        "features": "standardized per dimension by the utterances that a probe learns from",
        "weighted sum": "softmax weights over the layers' pooled statistics, learnt with the probe",
        "interval": "95 % bootstrap over utterances of the mean over seeds",
        "training": asdict(_config(options)),
        **options.stored,
        **version_of("emotion"),
    }
    return TaskPlan("emotion", "uar", splits, protocol)


def _lines(splits: list[LabelledManifest], ending: str) -> list[str]:
    return [line for split in splits for line in split.labels[ending]]


def _check_folds(
    data: Path, word: str, folds: list[str], emotions: list[str], speakers: list[str]
) -> None:
    if len(set(emotions)) < 2:
        raise ProbeError(f"{data}: all utterances have the emotion {emotions[0]!r}")
    if len(set(folds)) < 3:
        raise ProbeError(
            f"{data} has {len(set(folds))} {word}(s), and emotion is scored on a {word} left out "
            f"with others left to learn from and to choose on: prepare at least 3 {word}s"
        )
    for emotion in sorted(set(emotions)):
        held = {fold for fold, mine in zip(folds, emotions, strict=True) if mine == emotion}
        if len(held) < 2:
            raise ProbeError(
                f"{data}: the emotion {emotion!r} comes from {word} {held.pop()!r} alone, so it is "
                f"absent from train when that {word} is left out: leave it out of the table"
            )
    home: dict[str, str] = {}
    for speaker, fold in zip(speakers, folds, strict=True):
        if home.setdefault(speaker, fold) != fold:
            raise ProbeError(
                f"{data}: speaker {speaker} is in the folds {home[speaker]} and {fold}, so the "
                "score would not be of unseen speakers: mend the fold column of the table"
            )


def run_emotion(setup: Setup) -> Outcome:
    """Cross-validate every layer and their sum with every pooling."""
    splits = setup.plan.splits
    kind = "fold" if "fold" in splits[0].labels else "spk"
    kept = {split.name: setup.stores[split.name].rows.tolist() for split in splits}

    def labels(ending: str) -> list[str]:
        return [split.labels[ending][row] for split in splits for row in kept[split.name]]

    classes, truth = _number(labels("emo"))
    fold_names, folds = _number(labels(kind))
    _check_folds(splits[0].data, kind, labels(kind), labels("emo"), labels("spk"))
    pooled = {
        name: np.concatenate([pool(setup.stores[s.name], name)[0] for s in splits], axis=1)
        for name in POOLING
    }
    config = _config(setup.options)
    candidates: list[Candidate] = []
    by_fold: list[Scores] = []
    weights: dict[int, list[float]] = {}
    total = len(setup.representations) * len(POOLING)
    for layer in setup.representations:
        for pooling in POOLING:
            x = pooled[pooling]
            mine = x if layer == WEIGHTED_SUM else x[[setup.layers.index(layer)]]
            found = cross_validate(
                mine, truth, folds, len(classes), setup.options.seeds, config, setup.device
            )
            inner = inner_scores(found, truth, len(classes))
            if layer == WEIGHTED_SUM:
                weights[len(candidates)] = found.layer_weights.tolist()
            by_fold.append(inner["uar"])
            valid = {name: score.mean(axis=1).tolist() for name, score in inner.items()}
            candidates.append(Candidate(layer, pooling, valid, found.test))
            if setup.progress:
                setup.progress("cross-validate", len(candidates), total)
    candidates.append(choose_per_fold(candidates, np.stack(by_fold), folds))
    best = choose(candidates[:-1], "uar")
    heaviest = max(weights, key=lambda k: np.mean(candidates[k].valid["uar"]), default=None)
    position = 0 if candidates[best].layer == WEIGHTED_SUM else best // len(POOLING)
    seconds = sum(int(s.manifest.num_samples[kept[s.name]].sum()) for s in splits) / 16000
    size = SplitSize(utterances=len(truth), hours=round(seconds / 3600, 4), items=len(truth))
    vectors = pooled[candidates[best].pooling or POOLING[0]]
    if candidates[best].layer == WEIGHTED_SUM:
        share = np.asarray(weights[best], np.float32)
        scaled = vectors / vectors.std(axis=1, keepdims=True).clip(1e-6)
        vectors = np.einsum("l,lnd->nd", share, scaled)[None]
    return Outcome(
        classes=classes,
        metrics=_METRICS,
        candidates=candidates,
        chosen=len(candidates) - 1,
        truth=truth,
        utterance=np.arange(len(truth)),
        majority=dict.fromkeys(_METRICS, int(np.bincount(truth).argmax())),
        sizes={"train": size, "valid": size, "test": size},
        layer_weights=weights[heaviest] if heaviest is not None else [],
        notes=[
            f"train, valid and test are all {len(fold_names)} folds in turn",
            *_counts(labels("emo")),
        ],
        embeddings=Embeddings(vectors[position], labels("emo"), labels("spk")),
    )


def _number(names: list[str]) -> tuple[list[str], Index]:
    classes = sorted(set(names))
    position = {name: number for number, name in enumerate(classes)}
    return classes, np.array([position[name] for name in names], np.int64)


def _counts(emotions: list[str]) -> list[str]:
    counts = Counter(emotions)
    return [", ".join(f"{name} {counts[name]}" for name in sorted(counts))]


def inner_scores(found: FoldPredictions, truth: Index, num_classes: int) -> dict[str, Scores]:
    """Each metric (S, F) on the inner folds' pooled predictions, without the outer fold."""
    seeds, folds, _ = found.valid.shape
    result: dict[str, Scores] = {name: np.zeros((seeds, folds)) for name in _METRICS}
    for seed in range(seeds):
        for fold in range(folds):
            mine = found.valid[seed, fold]
            kept = mine >= 0
            counted = scores.tally(truth[kept], mine[kept], np.zeros(kept.sum(), int), num_classes)
            for name, metric in _METRICS.items():
                result[name][seed, fold] = scores.score(metric, counted)
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
    return Candidate(CHOSEN_PER_FOLD, None, {"uar": inner.max(axis=0).mean(axis=1).tolist()}, taken)
