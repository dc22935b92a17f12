"""How each number was made: the protocol of a task in words, and the circumstances of a result.

Text for the fold-outs of the page and the foot of the Markdown tables.
"""

from __future__ import annotations

import json
from typing import Any

from ..evaluation.results import UNTRAINED, ProbedResult, SplitSize, UpstreamResult
from .collect import OF_THE_ROW, Result, chosen_name, scores
from .wording import items_of, metric_info

# What EVALUATION's protocol fixes; all that a result decides itself is listed from the result.
WORDS = {
    "phone": (
        "The encoder is frozen. One linear layer classifies the phone of every 20 ms frame, once "
        "per layer of the encoder and once on a learned weighted sum of all layers. It learns on "
        "train; when to stop and which of these to report is decided on valid; the score is of "
        "test."
    ),
    "speaker": (
        "The encoder is frozen and hears segments one by one. Features are averaged over a "
        "segment, and one linear layer classifies the speaker. The speakers of test are those of "
        "train; the utterances are others."
    ),
    "emotion": (
        "The encoder is frozen. Features are averaged over the utterance (mean, and mean with "
        "standard deviation), and one linear layer classifies the emotion. Every speaker "
        "(or fold) is held out once; when to stop and which layer to report is decided without it."
    ),
    "enhancement": (
        "The encoder is frozen and hears mixtures of speech and noise that are made for this. One "
        "linear layer predicts from each frame's features a mask on the mixture's spectrum around "
        "that frame. The gain is the SI-SDR of the masked mixture over that of the mixture itself, "
        "of test speakers and of kinds of noise that training did not hear."
    ),
    "asr": (
        "The encoder is fine-tuned with CTC by fairseq's own recipe and decoded greedily, without "
        "a language model. Rows without an encoder (fbank, mfcc) train the same Transformer on "
        "their frames from random weights. The checkpoint is chosen on valid; the score is of test."
    ),
}

_LABEL_WORDS = (
    "The encoder is frozen. Features are averaged over the utterance, and one linear layer "
    "classifies it by a label of the corpus. How utterances were divided for learning, choosing "
    "and scoring is said below."
)


def words_of(task: str) -> str:
    """The protocol of a task in words."""
    return WORDS.get(task, _LABEL_WORDS)


def sizes(result: Result) -> str:
    """Put the sizes of the splits into words."""
    parts = [
        f"{name} {_size(size, items_of(result.task))}"
        for name, size in (
            ("train", result.data.train),
            ("valid", result.data.valid),
            ("test", result.data.test),
        )
    ]
    classes = f", {len(result.data.classes)} classes" if result.data.classes else ""
    return f"{result.data.folder}: {'; '.join(parts)}{classes}"


def _size(size: SplitSize, unit: str) -> str:
    items = "" if unit == "utterances" else f", {size.items:,} {unit}"
    return f"{size.utterances:,} utterances, {size.hours:.2f} h{items}"


def told(result: Result) -> list[tuple[str, str]]:
    """List what a result's protocol says in words."""
    return [(name, value) for name, value in _decided(result) if isinstance(value, str)]


def settings(result: Result) -> list[tuple[str, str]]:
    """List the numbers of a result's protocol."""
    return [(name, plain(value)) for name, value in _decided(result) if not isinstance(value, str)]


def _decided(result: Result) -> list[tuple[str, Any]]:
    return [(n, v) for n, v in result.protocol.items() if f"protocol.{n}" not in OF_THE_ROW]


def overlap_words(upstream: UpstreamResult, result: Result) -> str:
    """Whether test recordings were pre-trained on, as far as that can be known."""
    if upstream.kind in UNTRAINED:
        return "not pre-trained"
    if result.overlap is None:
        return "unknown: not looked up when this was measured"
    return result.overlap.words


def circumstances(upstream: UpstreamResult, result: Result) -> list[tuple[str, str]]:
    """List where a result comes from."""
    values = [
        f"{metric_info(name).title} " + ", ".join(f"{value:.2f}" for value in per_seed)
        for name, per_seed in scores(result).items()
    ]
    what = "on" if isinstance(result, ProbedResult) else "by"
    return [
        ("score", f"{what} {chosen_name(result)}: {'; '.join(values)}"),
        (
            "95 % interval",
            f"{result.low:.2f} to {result.high:.2f} ({result.metric}), drawn over "
            f"{result.interval_over}",
        ),
        ("seeds", plain(result.seeds)),
        *((n, plain(v)) for n, v in result.protocol.items() if f"protocol.{n}" in OF_THE_ROW),
        ("data", sizes(result)),
        ("test and pre-training", overlap_words(upstream, result)),
        ("command", result.command),
        ("commit", result.commit),
        ("hardware", result.hardware),
        ("date", result.date),
        ("wall time", duration(result.seconds)),
    ]


def training(upstream: UpstreamResult) -> list[tuple[str, str]]:
    """List how a representation came to be."""
    absent = "none, not trained" if upstream.kind in UNTRAINED else "not recorded"
    trained = upstream.kind not in UNTRAINED
    updates = upstream.num_updates if trained else None
    hours = upstream.audio_hours if trained else None
    seconds = upstream.train_seconds
    known = [
        ("name", upstream.name),
        ("kind", upstream.kind),
        ("checkpoint", upstream.path),
        ("pre-training seed", absent if upstream.seed is None else str(upstream.seed)),
        ("updates", absent if updates is None else f"{updates:,}"),
        (
            "audio seen",
            absent if hours is None else f"{hours * 3600:,.0f} s ({hours:.2f} h, repeats counted)",
        ),
        ("training time", absent if seconds is None else duration(seconds)),
        ("fingerprint", upstream.fingerprint),
    ]
    return [*known, *((name, plain(value)) for name, value in upstream.config.items())]


def plain(value: Any) -> str:
    """Write a value of a JSON file as a person would."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
