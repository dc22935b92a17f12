"""Choose the weights of a beam search on held-out data: a grid, each point decoded and scored.

`mgf score --tune` uses it before it scores another manifest; the model runs once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ...inference.decoding import Decoder
from ...inference.long_audio import Recording, Run, Skipped
from ...inference.recognizer import Recognizer
from ...inference.wer import join_symbols, score_corpus, score_utterance
from ...utils.progress import Progress, silent
from .score import Truth, read_truth

LM_WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Point:
    """Error rates, in percent, with one pair of weights."""

    lm_weight: float
    word_score: float
    wer: float
    cer: float


@dataclass(frozen=True)
class Tuned:
    """All points of the grid, and the best one."""

    manifest: Path
    utterances: int
    points: list[Point]

    @property
    def best(self) -> Point:
        """The lowest word error rate; of equal ones the lowest character error rate."""
        return min(self.points, key=lambda point: (point.wer, point.cer))


def tune(
    recognizer: Recognizer,
    path: Path,
    labels: str | None = None,
    batch_seconds: float = 120.0,
    progress: Progress = silent,
) -> Tuned:
    """Score a manifest with each pair of weights.

    Args:
        recognizer: with a beam search.
        path: the .tsv to tune on, never the one to report.
        labels: ending of the label file, if other than the one fine-tuning used.
        batch_seconds: padded audio per batch.
        progress: called after each recording, then after each pair.

    Raises:
        ManifestError: the manifest cannot be used.
        ValueError: its labels are missing or of another length, or no audio can be read.
    """
    if recognizer.attention is not None:
        raise ValueError("an attention decoder has no weights to tune: leave --tune out")
    search = recognizer.search
    if search is None or (search.decoder.model is None and search.word_list is None):
        raise ValueError("nothing to tune without --words or --lm: give one of them")
    truth = read_truth(path, labels, recognizer)
    heard = _log_probs(recognizer, truth, path, batch_seconds, progress)
    weights = LM_WEIGHTS if search.decoder.model is not None else (0.0,)
    grid = list(product(weights, WORD_SCORES))
    points = []
    for number, (lm_weight, word_score) in enumerate(grid, start=1):
        decoder = search.weighted(lm_weight, word_score)
        points.append(Point(lm_weight, word_score, *_rates(recognizer, decoder, truth, heard)))
        progress("tune", number, len(grid))
    return Tuned(path, len(heard), points)


def _log_probs(
    recognizer: Recognizer, truth: Truth, path: Path, batch_seconds: float, progress: Progress
) -> dict[int, Tensor]:
    """The model's (T, V) of each row that can be read, on the CPU."""

    def finish(recording: Recording, frames: Iterable[Tensor]) -> Tensor:
        stretches = [stretch.float().cpu() for stretch in frames]
        return torch.cat(stretches) if stretches else torch.empty(0, len(recognizer.dictionary))

    run = Run(recognizer.frames, finish, batch_seconds, progress=progress)
    found = enumerate(run.over(truth.entries))
    heard = {row: one for row, one in found if not isinstance(one, Skipped)}
    if not heard:
        raise ValueError(f"{path}: no utterance could be read; see mgf check")
    return heard


def _rates(
    recognizer: Recognizer, decoder: Decoder, truth: Truth, heard: dict[int, Tensor]
) -> tuple[float, float]:
    scores = []
    for row, log_probs in heard.items():
        best = decoder.decode([log_probs] if len(log_probs) else [])[0]
        text = join_symbols(" ".join(recognizer.spell(best.symbols)), recognizer.post_process)
        scores.append(score_utterance(truth.entries[row], truth.references[row], text))
    corpus = score_corpus(scores)
    return corpus.wer, corpus.cer
