"""Transcribe a manifest greedily with a fine-tuned recognizer, and score it.

The work behind ``mgf score`` and the recognition task: recognizer and audio in, one transcript per
line out, which wer.py judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor, nn

from .batching import plan_batches
from .data.audio import AudioReader
from .data.corpora import read_lines
from .data.manifest import Manifest, read_manifest
from .lengths import padding_mask_of
from .recognizer import POST_PROCESS_OF_LABELS
from .recognizer import Recognizer as Recognizer
from .recognizer import load_recognizer as load_recognizer
from .waveforms import Waveforms, as_rows
from .wer import CorpusScore, UtteranceScore, join_symbols, score_corpus, score_utterance

UNKNOWN = "\u2047"


@dataclass(frozen=True)
class Decoded:
    """The greedy path of one utterance."""

    symbols: str
    frames: int
    blank_frames: int


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """Merge repeats, then drop blanks: the label sequence of a CTC path."""
    kept = [now for i, now in enumerate(path) if i == 0 or now != path[i - 1]]
    return [symbol for symbol in kept if symbol != blank]


def _spell(dictionary: Dictionary, index: int) -> str:
    """Return a symbol; <unk> and <pad> as one character, so that each counts as one error."""
    return UNKNOWN if index < dictionary.nspecial else str(dictionary[index])


def decode_batch(
    recognizer: Recognizer, waveforms: Waveforms, device: torch.device
) -> list[Decoded]:
    """Transcribe waveforms at the model's rate, each at least one frame long; see `as_rows`."""
    rate, least = recognizer.sample_rate, recognizer.geometry.receptive_field
    rows = as_rows(waveforms, rate, torch.device("cpu"), least=least)
    lengths = [len(row) for row in rows]
    if recognizer.normalize:
        # As fairseq's RawAudioDataset.postprocess: each utterance by its own mean and variance.
        rows = [F.layer_norm(row, row.shape) for row in rows]
    source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
    mask = padding_mask_of(lengths, source.shape[1], device)
    with torch.inference_mode():
        output = recognizer.model(source=source.to(device), padding_mask=mask)
        paths = recognizer.model.get_logits(output).argmax(dim=-1).T.cpu()  # type: ignore[operator]
    decoded = []
    for row, length in zip(paths.tolist(), lengths, strict=True):
        path = row[: recognizer.geometry.num_frames(length)]
        kept = collapse(path, recognizer.blank)
        # End-of-sentence is left out of text as in fairseq's Dictionary.string.
        symbols = [
            _spell(recognizer.dictionary, i) for i in kept if i != recognizer.dictionary.eos()
        ]
        blanks = sum(symbol == recognizer.blank for symbol in path)
        decoded.append(Decoded(" ".join(symbols), len(path), blanks))
    return decoded


def transcribe(
    recognizer: Recognizer,
    entries: Sequence[str],
    num_samples: Sequence[int],
    batch_seconds: float,
    device: torch.device,
    advance: Callable[[int], object],
) -> tuple[dict[int, Decoded], dict[int, str]]:
    """Transcribe audio files in batches; one bad file costs only itself.

    Args:
        entries: files to read, as manifest.py resolves them.
        num_samples: their lengths as the manifest says; used only to group them.
        batch_seconds: padded audio per batch.
        advance: called with the number of files after each batch.

    Returns:
        transcripts by line number, and the reason by line number for files that were left out.
    """
    decoded: dict[int, Decoded] = {}
    failed: dict[int, str] = {}
    limit = int(batch_seconds * recognizer.sample_rate)
    one_by_one = not recognizer.padding_invariant
    for batch in plan_batches(num_samples, limit, one_by_one):
        waveforms: dict[int, Tensor] = {}
        for index in batch:
            try:
                with AudioReader(entries[index], recognizer.sample_rate) as reader:
                    waveforms[index] = torch.from_numpy(reader.read())
            except ValueError as error:
                failed[index] = str(error)
        for index in list(waveforms):
            if not recognizer.geometry.num_frames(len(waveforms[index])):
                del waveforms[index]  # less than one frame: nothing can be said
                decoded[index] = Decoded("", 0, 0)
        if waveforms:
            rows = decode_batch(recognizer, list(waveforms.values()), device)
            decoded.update(zip(waveforms, rows, strict=True))
        advance(len(batch))
    return decoded, failed


@dataclass(frozen=True)
class ManifestScore:
    """How well a manifest was transcribed."""

    corpus: CorpusScore
    utterances: list[UtteranceScore]  # in the manifest's order
    rows: list[int]  # of the manifest, one per utterance
    failed: dict[int, str]  # row -> why its audio was left out
    speakers: list[str] | None = None  # of all rows of the manifest, if beside it (.spk)


def score_manifest(
    recognizer: Recognizer,
    path: Path | str,
    labels: str | None = None,
    batch_seconds: float = 120.0,
    device: torch.device | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> ManifestScore:
    """Transcribe a manifest and compare with the label file beside it.

    Args:
        path: the .tsv.
        labels: ending of the label file, if other than the one fine-tuning used.
        batch_seconds: padded audio per batch.
        device: where to compute; the CPU if None.
        advance: called with the number of files after each batch.

    Raises:
        ManifestError: the manifest cannot be used.
        ValueError: its labels are missing or of another length, or no audio can be read.
    """
    path = Path(path)
    manifest = read_manifest(path)
    manifest.require_root()
    references = _read_references(path, labels, recognizer, manifest)
    device = device or torch.device("cpu")
    recognizer.model.to(device)
    decoded, failed = transcribe(
        recognizer,
        [manifest.entry(row) for row in range(len(manifest))],
        manifest.num_samples.tolist(),
        batch_seconds,
        device,
        advance,
    )
    if not decoded:
        reason = next(iter(failed.values()))
        raise ValueError(f"{path}: no utterance could be read ({reason}); see mgf check")
    scores = [
        score_utterance(
            manifest.paths[row],
            references[row],
            join_symbols(found.symbols, recognizer.post_process),
            found.frames,
            found.blank_frames,
        )
        for row, found in sorted(decoded.items())
    ]
    rows = sorted(decoded)
    speakers = _read_speakers(path, manifest)
    known = [speakers[row] for row in rows] if speakers else None
    return ManifestScore(score_corpus(scores, known), scores, rows, failed, speakers)


def _read_speakers(manifest_path: Path, manifest: Manifest) -> list[str] | None:
    """The .spk beside a manifest, which intervals are drawn by; None where there is none."""
    path = manifest_path.with_suffix(".spk")
    if not path.is_file():
        return None
    speakers = read_lines(path, "utf-8")
    if len(speakers) != len(manifest):
        raise ValueError(
            f"{path}: {len(speakers)} labels for {len(manifest)} utterances; run mgf check "
            f"{path.parent}"
        )
    return speakers


def _read_references(
    manifest_path: Path, labels: str | None, recognizer: Recognizer, manifest: Manifest
) -> list[str]:
    """Read the label file beside the manifest and turn its rows into words."""
    ending = labels or recognizer.labels
    path = manifest_path.with_suffix(f".{ending}")
    if not path.is_file():
        raise ValueError(f"{path}: no such label file; name its ending with --labels")
    rows = read_lines(path, "utf-8")
    if len(rows) != len(manifest):
        raise ValueError(
            f"{path}: {len(rows)} labels for {len(manifest)} utterances; run mgf check "
            f"{path.parent}"
        )
    default = "none" if labels else recognizer.post_process
    post_process = POST_PROCESS_OF_LABELS.get(ending, default)
    return [join_symbols(row, post_process) for row in rows]
