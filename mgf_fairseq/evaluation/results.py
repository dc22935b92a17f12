"""Results as dataclasses: what the probes and the recognizer measure.

result_files.py writes and reads them; `mgf report` shows them. All metrics, intervals and class
scores are in percent (as in inference/wer.py), but for `si_sdr_gain`, which is in dB; names that
end in `_ratio` are shares between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..utils.dataclass_json import ADDED

FORMAT = 1  # of the JSON files
UPSTREAM_FILE = "upstream.json"
ORIGINAL, DECODED = "original.wav", "reconstruction.wav"  # what the sample objective decodes
INFILLING = "infilling.npz"  # what the frame objective fills into masked stretches
ENHANCEMENT = "enhancement"
RECOGNITION = "asr"
UNTRAINED = ("fbank", "mfcc", "random")  # kinds of upstream without pre-training
# Representations that are no layer of the upstream.
WEIGHTED_SUM = "weighted sum"  # learned with the probe, over all layers
CHOSEN_PER_FOLD = "chosen per fold"  # each fold's own choice on its inner folds

OLD_INTERVAL = "utterances"  # what intervals were drawn over before results said so


@dataclass(frozen=True, kw_only=True)
class UpstreamResult:
    """Which representation a result folder is about (`upstream.json`)."""

    name: str  # unique among the results of a report: the folder's name
    group: str  # rows of one group differ by pre-training seed only and are one row of the report
    kind: str  # mgf, wav2vec2, hubert, apc, fbank, mfcc, random
    layer_names: list[str]
    fingerprint: str  # digest of what decides the features
    path: str
    seed: int | None = None  # of pre-training
    num_updates: int | None = None
    audio_hours: float | None = None  # audio seen in pre-training, repeats counted
    train_seconds: float | None = None  # wall time of pre-training
    config: dict[str, Any] = field(default_factory=dict)  # size, objectives, levels, weights
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """How much a split holds."""

    utterances: int
    hours: float
    items: int  # what is classified or transcribed: frames, segments, utterances, words


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """What was learned from and scored on; with folds, train and test are of all folds pooled."""

    folder: str
    classes: list[str]
    train: SplitSize
    valid: SplitSize
    test: SplitSize
    note: str = ""  # what a reader of the number must know: skipped, truncated, silver labels


@dataclass(frozen=True, kw_only=True)
class Representation:
    """One layer (and pooling) or the weighted sum, with each metric per probe seed."""

    name: str  # "fbank", "layer 2", "weighted sum", "layer 2, mean+std"
    layer: str  # one of the layer names, WEIGHTED_SUM or CHOSEN_PER_FOLD
    valid: dict[str, list[float]]
    test: dict[str, list[float]]
    pooling: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How one class was found; 0 where a quotient has no denominator, as in scikit-learn."""

    label: str = field(metadata={"key": "class"})
    precision: float
    recall: float
    f1: float
    count: int  # true items in test


@dataclass(frozen=True, kw_only=True)
class UtteranceCounts:
    """What one test utterance adds to a score before anything is divided; summed over seeds."""

    entry: str  # of the manifest
    speaker: str  # empty where nobody knows
    # Three numbers per class in it: class, items in it, those found in all seeds together. Of
    # recognition the classes are 0 for words and 1 for characters, and errors are counted.
    counts: list[int]


@dataclass(frozen=True, kw_only=True)
class UtteranceGain:
    """What enhancement made of one test mixture."""

    entry: str  # of the manifest
    speaker: str  # empty where nobody knows
    noise: str
    snr_db: float
    gain: float  # SI-SDR over that of the mixture, in dB, mean over seeds


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Test recordings that the encoder was pre-trained on, as far as that can be known."""

    recordings: int  # of test
    looked_up: int  # of these; 0: the checkpoint does not say what it was trained on
    seen: int
    by: str  # content or name: what was compared; empty where there was nothing to compare

    @property
    def words(self) -> str:
        """For tables and pages."""
        if not self.by:
            return (
                f"unknown whether any of {self.recordings} test recordings was in the pre-training "
                "data: the checkpoint does not say"
            )
        some = f" ({self.looked_up} of them looked up)" if self.looked_up < self.recordings else ""
        return (
            f"{self.seen} of {self.recordings} test recordings were in the pre-training data"
            f"{some}, by {self.by}"
        )


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a number comes from; the first fields of every result."""

    command: str
    commit: str
    hardware: str
    date: str  # ISO 8601, UTC
    seconds: float  # wall time of the task


@dataclass(frozen=True, kw_only=True)
class ProbedResult(Provenance):
    """A task of probes on frozen features: what all such tasks have."""

    without_features: ClassVar[str]  # how `chance` is reached, in a word or three
    unit: ClassVar[str] = "%"  # of the leading metric

    task: str
    metric: str  # the leading one: accuracy, uar, si_sdr_gain
    data: TaskData
    protocol: dict[str, Any]  # everything that decides the numbers
    key: str  # digest of upstream, protocol, manifests and labels: equal keys, equal result
    seeds: list[int]  # of the probe
    representations: list[Representation]
    chosen: int  # index into representations, chosen on valid alone
    low: float  # 95 % bootstrap interval of the chosen one's leading metric
    high: float
    chance: dict[str, float]  # metric -> what is reached on test without looking at features
    layer_weights: list[float]  # of the weighted sum, per layer, mean over seeds; empty: no sum
    overlap: Overlap | None = field(default=None, metadata=ADDED)  # None: not pre-trained
    interval_over: str = field(default=OLD_INTERVAL, metadata=ADDED)  # what is drawn for it
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class TaskResult(ProbedResult):
    """A classification (`phone.json`, `speaker.json`, `emotion.json`); chance: the most frequent
    class of train.
    """

    without_features: ClassVar[str] = "majority"

    confusion: list[list[int]]  # (truth, prediction) counts of the chosen one, summed over seeds
    per_class: list[ClassScore]  # of the chosen one, from the confusion
    utterances: list[UtteranceCounts] = field(default_factory=list, metadata=ADDED)  # chosen one's


@dataclass(frozen=True, kw_only=True)
class EnhancementResult(ProbedResult):
    """Speech enhancement (`enhancement.json`); chance: one mask for all frames, of train."""

    without_features: ClassVar[str] = "one mask for all"
    unit: ClassVar[str] = "dB"

    task: str = ENHANCEMENT
    metric: str = "si_sdr_gain"
    ideal: dict[str, float]  # metric -> what the ideal mask reaches on test
    utterances: list[UtteranceGain]  # chosen one's


@dataclass(frozen=True, kw_only=True)
class Example:
    """A transcript beside what was heard."""

    reference: str
    hypothesis: str


@dataclass(frozen=True, kw_only=True)
class RecognitionResult(Provenance):
    """Speech recognition by fine-tuning (`asr.json`): wer, cer, blank_ratio per seed."""

    data: TaskData
    protocol: dict[str, Any]
    key: str
    seeds: list[int]
    valid: dict[str, list[float]]
    test: dict[str, list[float]]
    low: float  # 95 % bootstrap interval of the leading metric
    high: float
    examples: list[Example] = field(default_factory=list)
    metric: str = "cer"
    task: str = RECOGNITION
    overlap: Overlap | None = field(default=None, metadata=ADDED)  # None: not pre-trained
    interval_over: str = field(default=OLD_INTERVAL, metadata=ADDED)
    utterances: list[UtteranceCounts] = field(default_factory=list, metadata=ADDED)
    format: int = FORMAT


@dataclass(frozen=True)
class Embeddings:
    """One vector per held-out utterance, for a picture (`speaker.npz`, `emotion.npz`)."""

    vectors: npt.NDArray[np.float32]  # (N, D)
    labels: Sequence[str]
    speakers: Sequence[str]
