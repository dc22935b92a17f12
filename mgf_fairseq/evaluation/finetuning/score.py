"""Score a fine-tuned model on a manifest: transcripts, references, and their error rates.

The work behind ``mgf score`` and the last step of the recognition task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...data.label_lines import read_label_lines
from ...data.manifest import Manifest, read_manifest
from ...inference.decoding import Hypothesis
from ...inference.long_audio import Run, Skipped
from ...inference.recognizer import Recognizer as Recognizer
from ...inference.wer import (
    POST_PROCESS_OF_LABELS,
    CorpusScore,
    UtteranceScore,
    join_symbols,
    score_corpus,
    score_utterance,
)


@dataclass(frozen=True)
class ManifestScore:
    """How well a manifest was transcribed."""

    corpus: CorpusScore
    utterances: list[UtteranceScore]  # in the manifest's order
    rows: list[int]  # of the manifest, one per utterance
    skipped: dict[int, str]  # row -> why it was skipped
    speakers: list[str] | None = None  # of all rows of the manifest, if beside it (.spk)


@dataclass(frozen=True)
class Truth:
    """A manifest and what is said in its recordings."""

    manifest: Manifest
    entries: list[str]
    references: list[str]


def score_manifest(
    recognizer: Recognizer,
    path: Path | str,
    labels: str | None = None,
    batch_seconds: float = 120.0,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    advance: Callable[[int], object] = lambda count: None,
) -> ManifestScore:
    """Transcribe a manifest and compare with the label file beside it.

    Args:
        path: the .tsv.
        labels: ending of the label file, if other than the one fine-tuning used.
        batch_seconds: padded audio per batch.
        device: where to compute; the CPU if None.
        advance: called with 1 after each file.

    Raises:
        ManifestError: the manifest cannot be used.
        ValueError: its labels are missing or of another length, or no audio can be read.
    """
    path = Path(path)
    truth = read_truth(path, labels, recognizer)
    manifest, references = truth.manifest, truth.references
    recognizer.model.to(device or torch.device("cpu"))
    decoded, skipped = _decode(recognizer, truth.entries, batch_seconds, advance)
    if not decoded:
        reason = next(iter(skipped.values()))
        raise ValueError(f"{path}: no utterance could be read ({reason}); see mgf check")
    scores = [
        score_utterance(
            manifest.paths[row],
            references[row],
            join_symbols(" ".join(recognizer.spell(best.symbols)), recognizer.post_process),
            best.num_frames,
            best.blank_frames,
        )
        for row, best in decoded.items()
    ]
    rows = list(decoded)
    speakers = read_speakers(path, manifest)
    known = [speakers[row] for row in rows] if speakers else None
    return ManifestScore(score_corpus(scores, known), scores, rows, skipped, speakers)


def _decode(
    recognizer: Recognizer,
    entries: Sequence[str],
    batch_seconds: float,
    advance: Callable[[int], object],
) -> tuple[dict[int, Hypothesis], dict[int, str]]:
    """The best symbols of each row that can be read, and why the other rows cannot."""
    decoder = recognizer.decoder
    run = Run(recognizer.frames, lambda _, frames: decoder.decode(frames)[0], batch_seconds)
    decoded: dict[int, Hypothesis] = {}
    skipped: dict[int, str] = {}
    for row, found in enumerate(run.over(entries)):
        if isinstance(found, Skipped):
            skipped[row] = f"{found.name}: {found.reason}"
        else:
            decoded[row] = found
        advance(1)
    return decoded, skipped


def read_speakers(manifest_path: Path, manifest: Manifest) -> list[str] | None:
    """The .spk beside a manifest, which intervals are drawn by; None where there is none."""
    if not manifest_path.with_suffix(".spk").is_file():
        return None
    return read_rows(manifest_path, "spk", manifest)


def read_rows(manifest_path: Path, ending: str, manifest: Manifest) -> list[str]:
    """The lines of a label file beside a manifest, one per row.

    Raises:
        ValueError: there is no such file.
        ManifestError: it does not have one line per row.
    """
    path = manifest_path.with_suffix(f".{ending}")
    if not path.is_file():
        raise ValueError(f"{path}: no such label file; name its ending with --labels")
    return read_label_lines(manifest_path, ending, len(manifest))


def read_truth(path: Path, labels: str | None, recognizer: Recognizer) -> Truth:
    """Read a manifest and the label file beside it, whose rows become words.

    Raises:
        ManifestError: the manifest cannot be used, or its labels are of another length.
        ValueError: its labels are missing.
    """
    manifest = read_manifest(path)
    manifest.require_root()
    ending = labels or recognizer.labels
    default = "none" if labels else recognizer.post_process
    post_process = POST_PROCESS_OF_LABELS.get(ending, default)
    rows = read_rows(path, ending, manifest)
    return Truth(
        manifest,
        [manifest.entry(row) for row in range(len(manifest))],
        [join_symbols(row, post_process) for row in rows],
    )
