"""Speech recognition as an evaluation: stock CTC fine-tuning by one recipe, then WER and CER.

The one task whose encoder is trained on; the others probe frozen features. Carries out the plan of
asr_plan.py: asr_training.py lists the trainings, which run as ``fairseq-hydra-train``
(host/training_process.py); decoding and scores are those of ``mgf score``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ...checkpoints.pretraining_data import recordings_of
from ...checkpoints.reading import BEST
from ...data.caveats import read_caveats
from ...data.manifest import read_manifest
from ...data.text import read_lines
from ...inference.recognizer import load_recognizer
from ...inference.wer import POST_PROCESS_OF_LABELS, join_symbols, rate_interval
from ...utils.intervals import units_of
from ...utils.progress import Progress
from ..finetuning.score import ManifestScore, score_manifest
from ..finetuning.training import Trained
from ..metrics import Tally
from ..overlap import find_overlap
from ..provenance import commit, provenance
from ..results import Example, Overlap, RecognitionResult, SplitSize, TaskData, UtteranceCounts
from ..utterances import CHARACTERS, counts_of, tally_of
from .asr_plan import Plan
from .asr_training import trainings_of
from .base import folder_name

_EXAMPLES = 8


def run_recognition(plan: Plan, work: Path, progress: Progress | None = None) -> RecognitionResult:
    """Fine-tune once per seed, choose on valid, score on test.

    Finished trainings are skipped and an interrupted one resumes. Seconds and commits of the result
    are those of all its processes.

    Args:
        plan: what ``plan_recognition`` made.
        work: folder for the trainings; each leaves its log and its best checkpoint there.
        progress: called while scoring; training shows a bar of its own.

    Raises:
        TrainingError: a training stopped with an error.
    """
    valid: list[ManifestScore] = []
    test: list[ManifestScore] = []
    trained: list[Trained] = []
    seconds = 0.0
    for training in trainings_of(plan, work):
        trained.append(training.run())
        scoring_since = time.monotonic()
        recognizer = load_recognizer(training.folder / BEST, plan.data)
        for name, scores in (("valid", valid), ("test", test)):
            path = plan.data / f"{plan.splits[name]}.tsv"
            device = torch.device(plan.options.device)
            counted = _Counted(progress, f"transcribe {name}", len(read_manifest(path)))
            scores.append(score_manifest(recognizer, path, device=device, advance=counted))
        seconds += trained[-1].seconds + time.monotonic() - scoring_since
    utterances = _counts(test)
    low, high, over = _interval(utterances, len(test))
    origin = provenance(time.monotonic(), plan.options.device)
    origin = replace(origin, seconds=round(seconds, 1), commit=_commits(trained, commit()))
    return RecognitionResult(
        **asdict(origin),
        data=_data(plan, test),
        protocol=plan.protocol,
        key=plan.key,
        seeds=list(plan.options.seeds),
        valid=_rates(valid),
        test=_rates(test),
        low=low,
        high=high,
        examples=_examples(test[0]),
        overlap=_overlap(plan),
        interval_over=over,
        utterances=utterances,
    )


def _overlap(plan: Plan) -> Overlap | None:
    """Which recordings of test the upstream was pre-trained on."""
    tested = read_manifest(plan.data / f"{plan.splits['test']}.tsv")
    return find_overlap(plan.upstream, recordings_of(tested))


class _Counted:
    """Counts what was done and reports it."""

    def __init__(self, progress: Progress | None, what: str, total: int) -> None:
        self.progress, self.what, self.total, self.done = progress, what, total, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(self.what, self.done, self.total)


def _commits(trainings: Sequence[Trained], scored: str) -> str:
    """The commit that all of it ran, or which part ran at which commit."""
    trained = list(dict.fromkeys(name for training in trainings for name in training.commits))
    return scored if trained == [scored] else f"{scored}, trained at {', '.join(trained)}"


def _rates(scores: Sequence[ManifestScore]) -> dict[str, list[float]]:
    """The metrics of a split, per seed."""
    names = ("wer", "cer", "blank_ratio")
    return {name: [getattr(score.corpus, name) for score in scores] for name in names}


def _counts(scores: Sequence[ManifestScore]) -> list[UtteranceCounts]:
    """Words, characters and their errors in all seeds, of utterances that each seed could read."""
    by_row = [dict(zip(score.rows, score.utterances, strict=True)) for score in scores]
    rows = [row for row in by_row[0] if all(row in found for found in by_row)]
    firsts = [by_row[0][row] for row in rows]
    items = np.array([[first.words, first.characters] for first in firsts], np.int64)
    tallies = []
    for found in by_row:
        mine = [found[row] for row in rows]
        errors = [[item.word_errors, item.character_errors] for item in mine]
        tallies.append(Tally(np.array(errors, np.int64), items))
    speakers = scores[0].speakers
    known = [speakers[row] for row in rows] if speakers else None
    return counts_of(tallies, [first.entry for first in firsts], known)


def _interval(utterances: Sequence[UtteranceCounts], seeds: int) -> tuple[float, float, str]:
    """95 % interval of the CER, an utterance with its errors in all seeds; what is drawn for it."""
    counted = tally_of(utterances, CHARACTERS + 1, seeds)
    errors, items = counted.hits[:, CHARACTERS], counted.counts[:, CHARACTERS]
    speakers = [utterance.speaker for utterance in utterances]
    low, high = rate_interval(errors.tolist(), items.tolist(), speakers)
    return low, high, units_of(speakers, len(utterances)).words


def _examples(score: ManifestScore) -> list[Example]:
    """Transcripts from all over the test split."""
    step = max(1, len(score.utterances) // _EXAMPLES)
    chosen = score.utterances[::step][:_EXAMPLES]
    return [Example(reference=item.reference, hypothesis=item.hypothesis) for item in chosen]


def _data(plan: Plan, test: Sequence[ManifestScore]) -> TaskData:
    labels = plan.options.recipe.labels
    lines = read_lines(plan.data / f"dict.{labels}.txt", "utf-8")
    notes = read_caveats(plan.data)
    skipped = len(test[0].skipped)
    if skipped:
        notes.append(f"{skipped} test utterance(s) could not be read and were skipped")
    return TaskData(
        folder=folder_name(plan.data),
        classes=[line.rpartition(" ")[0] for line in lines if line.strip()],
        note="; ".join(notes),
        **{name: _size(plan, split, labels) for name, split in plan.splits.items()},
    )


def _size(plan: Plan, split: str, labels: str) -> SplitSize:
    """How many utterances, hours and words."""
    data = plan.data
    manifest = read_manifest(data / f"{split}.tsv")
    rows = read_lines(data / f"{split}.{labels}", "utf-8")
    return SplitSize(
        utterances=len(manifest),
        hours=float(manifest.num_samples.sum()) / plan.upstream.sample_rate / 3600,
        items=sum(len(join_symbols(row, POST_PROCESS_OF_LABELS[labels]).split()) for row in rows),
    )
