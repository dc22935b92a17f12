"""Transcribe audio greedily with a CTC model, in batches, and count what could not be read.

Between the recognizer and wer.py, which scores the transcripts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..acoustics.waveforms import normalized
from ..data.audio import AudioReader
from ..data.batching import plan_batches
from ..encoder.padding import padding_mask_of
from ..extract.waveforms import Waveforms, as_rows
from .recognizer import Recognizer

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
        rows = [normalized(row) for row in rows]
    source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
    mask = padding_mask_of(lengths, source.shape[1], device)
    with torch.inference_mode():
        output = recognizer.model(source=source.to(device), padding_mask=mask)
        paths = recognizer.model.get_logits(output).argmax(dim=-1).T.cpu()  # type: ignore[operator]
    decoded = []
    for row, length in zip(paths.tolist(), lengths, strict=True):
        path = row[: recognizer.geometry.num_frames(length)]
        kept = collapse(path, recognizer.blank)
        # End-of-sentence is no part of the text, as in fairseq's Dictionary.string.
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
        transcripts by line number, and the reason by line number for files that were skipped.
    """
    decoded: dict[int, Decoded] = {}
    skipped: dict[int, str] = {}
    limit = int(batch_seconds * recognizer.sample_rate)
    one_by_one = not recognizer.padding_invariant
    for batch in plan_batches(num_samples, limit, one_by_one):
        waveforms: dict[int, Tensor] = {}
        for index in batch:
            try:
                with AudioReader(entries[index], recognizer.sample_rate) as reader:
                    waveforms[index] = torch.from_numpy(reader.read())
            except ValueError as error:
                skipped[index] = str(error)
        for index in list(waveforms):
            if not recognizer.geometry.num_frames(len(waveforms[index])):
                del waveforms[index]  # less than one frame: nothing can be said
                decoded[index] = Decoded("", 0, 0)
        if waveforms:
            rows = decode_batch(recognizer, list(waveforms.values()), device)
            decoded.update(zip(waveforms, rows, strict=True))
        advance(len(batch))
    return decoded, skipped
