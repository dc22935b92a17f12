"""Transcribe recordings with a recognizer: its frames through a decoder to words with times.

Above scoring.py, which loads the recognizer; `mgf transcribe` and Python call the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..scoring import UNKNOWN, Recognizer
from ..waveforms import Waveforms, as_list
from .decoder import Decoder, GreedyDecoder
from .frame_model import FrameModel
from .long_audio import Progress, Recording, Run, Skipped, flags_of
from .transcripts import Transcript, geometric_mean, words_of


def log_probs(model: nn.Module, source: Tensor, padding_mask: Tensor) -> Tensor:
    """(B, S) and its mask -> (B, T, V) log-probabilities of a stock ``wav2vec_ctc``."""
    output = model(source=source, padding_mask=padding_mask)
    logits: Tensor = model.get_logits(output)  # type: ignore[operator]
    return logits.float().log_softmax(dim=-1).transpose(0, 1)  # (T, B, V) -> (B, T, V)


def frame_model(recognizer: Recognizer) -> FrameModel:
    """The recognizer as waveforms in, log-probabilities of its symbols out."""
    return FrameModel(
        recognizer.model,
        log_probs,
        recognizer.geometry,
        len(recognizer.dictionary),
        recognizer.sample_rate,
        recognizer.normalize,
        recognizer.padding_invariant,
    )


def greedy_decoder(recognizer: Recognizer) -> GreedyDecoder:
    """The decoder without a language model; end-of-sentence is no part of a text."""
    return GreedyDecoder(recognizer.blank, frozenset({recognizer.dictionary.eos()}))


def spell(recognizer: Recognizer, symbols: Iterable[int]) -> list[str]:
    """The texts of symbols; <unk> and <pad> are one character."""
    dictionary = recognizer.dictionary
    return [UNKNOWN if index < dictionary.nspecial else str(dictionary[index]) for index in symbols]


def transcription(
    recognizer: Recognizer,
    decoder: Decoder | None = None,
    batch_seconds: float = 60.0,
    sample_rate: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Run[Transcript]:
    """What turns recordings into transcripts, one after the other."""
    chosen = decoder or greedy_decoder(recognizer)
    frame_seconds = recognizer.geometry.hop_length / recognizer.sample_rate

    def finish(recording: Recording, frames: Iterable[Tensor]) -> Transcript:
        best = chosen.decode(frames)[0]
        flags = flags_of(recording, recognizer.geometry)
        words = words_of(
            best, spell(recognizer, best.symbols), recognizer.post_process, frame_seconds
        )
        if flags:  # whatever the model makes of it, nobody speaks in it
            words = []
        return Transcript(
            name=recording.name,
            text=" ".join(word.text for word in words),
            seconds=round(recording.seconds, 3),
            confidence=geometric_mean(best.confidence) if words else None,
            words=words,
            flags=flags,
        )

    return Run(frame_model(recognizer), finish, batch_seconds, sample_rate, progress)


def transcribe(
    recognizer: Recognizer,
    waveforms: Waveforms,
    sample_rate: int | None = None,
    decoder: Decoder | None = None,
) -> list[Transcript]:
    """Transcribe one waveform or several, of any lengths: arrays, tensors or paths.

    Args:
        recognizer: a fine-tuned model.
        waveforms: arrays or tensors of (S,), mono, or paths of audio files.
        sample_rate: Hz of the arrays, which are resampled; the model's if None.
        decoder: what decodes; greedily if None.

    Raises:
        ValueError: a waveform cannot be used; the message says which, and why.
    """
    found = []
    for result in transcription(recognizer, decoder, sample_rate=sample_rate).over(
        as_list(waveforms)
    ):
        if isinstance(result, Skipped):
            raise ValueError(f"{result.name}: {result.reason}")
        found.append(result)
    return found


def to_device(recognizer: Recognizer, device: str) -> Recognizer:
    """Move a recognizer's weights to a device and return it."""
    recognizer.model.to(torch.device(device))
    return recognizer
