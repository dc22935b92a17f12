"""A fine-tuned stock ``wav2vec_ctc`` or ``wav2vec_seq2seq``: recordings in, transcripts out.

Its frames go through a decoder (decoding.py) to words (transcripts.py); nothing stored in the
checkpoint is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf
from torch import Tensor, nn

from ..checkpoints.files import interpreting
from ..checkpoints.reading import find_checkpoint, read_checkpoint
from ..checkpoints.symbols import symbols_of
from ..encoder.geometry import ConvGeometry, parse_conv_layers
from ..extract.waveforms import Waveforms, as_list
from ..utils.progress import Progress, silent
from .attention import AttentionDecoder, encoder_frames
from .checkpoint_parts import SEQ2SEQ, build_recognizer, recognizer_config
from .decoding import Decoder, GreedyDecoder, Hypothesis
from .frame_model import FrameModel
from .long_audio import Recording, Run, flags_of
from .search import Built, Search, Symbols, build_search
from .transcripts import Transcript, geometric_mean, words_of
from .wer import POST_PROCESS_OF_LABELS, join_symbols

UNKNOWN = "\u2047"
BLANK = "<s>"  # fairseq/tasks/audio_finetuning.py, AudioFinetuningTask.blank_symbol


def log_probs(model: nn.Module, source: Tensor, padding_mask: Tensor) -> Tensor:
    """(B, S) and its mask -> (B, T, V) log-probabilities of a stock ``wav2vec_ctc``."""
    output = model(source=source, padding_mask=padding_mask)
    logits: Tensor = model.get_logits(output)  # type: ignore[operator]
    return logits.float().log_softmax(dim=-1).transpose(0, 1)  # (T, B, V) -> (B, T, V)


@dataclass(frozen=True)
class Recognizer:
    """A CTC or attention model with all that is needed to use it as it was trained."""

    model: nn.Module
    dictionary: Dictionary
    geometry: ConvGeometry
    normalize: bool
    sample_rate: int  # Hz
    labels: str  # ending of the label files, such as ltr
    post_process: str
    padding_invariant: bool  # False: valid frames change with padding, so batches hold one row
    num_updates: int
    freeze_finetune_updates: int
    search: Built | None = None  # beam search of CTC; greedy decoding if None
    attention: AttentionDecoder | None = None  # of a wav2vec_seq2seq; None with CTC

    @classmethod
    def load(
        cls,
        path: Path | str,
        dictionary: Path | str | None = None,
        device: torch.device | str = "cpu",
        *,
        words: Path | str | Sequence[str] | None = None,
        lm: Path | str | None = None,
        beam: int | None = None,
        lm_weight: float | None = None,
        word_score: float | None = None,
    ) -> Recognizer:
        """Load a fine-tuned checkpoint, or the folder of its run, without running code from it.

        It decodes greedily if none of words, lm and beam is given.

        Args:
            path: of a ``wav2vec_ctc`` or ``wav2vec_seq2seq`` run, from MGF or stock wav2vec 2.0.
            dictionary: ``dict.<labels>.txt``, for a checkpoint that holds none.
            device: where to compute.
            words: the only words to recognize: a file (text or labels), or a list of words.
            lm: an n-gram language model: an ARPA file, or KenLM's binary one.
            beam: number of hypotheses that are followed.
            lm_weight: of the natural logarithm of a word's probability.
            word_score: added to a hypothesis for each of its words.

        Raises:
            CheckpointError: another kind of checkpoint, or weights and dictionary do not fit.
            LexiconError: the word list is empty or has symbols that the dictionary lacks.
            LanguageModelError: the language model is broken, or its words are of other symbols.
            ValueError: words or a language model for an attention decoder.
        """
        listed = Path(words) if isinstance(words, str | Path) else words
        search = Search(listed, None if lm is None else Path(lm), beam, lm_weight, word_score)
        found = load_recognizer(path, dictionary=dictionary)
        found.model.to(device)
        return found.searching(search)

    def searching(self, search: Search, progress: Progress = silent) -> Recognizer:
        """The same model with another way to decode.

        Raises:
            LexiconError, LanguageModelError, ValueError: as `load` does.
        """
        if search.is_greedy:
            return self
        if self.attention is not None:
            if search.words is not None or search.lm is not None:
                raise ValueError(
                    "an attention decoder (wav2vec_seq2seq) takes no words and no language model: "
                    "only --beam, or train another by `mgf finetune --task ctc`"
                )
            return replace(self, attention=replace(self.attention, beam=search.beam or 1))
        spelled = self.spell(range(len(self.dictionary)))
        greedy = self.greedy
        symbols = Symbols(spelled, self.post_process, greedy.blank, greedy.ignored)
        return replace(self, search=build_search(search, symbols, progress))

    @property
    def decoder(self) -> Decoder:
        """What decodes: the attention decoder, beam search if asked for, or the greedy one."""
        return self.attention or (self.search.decoder if self.search else self.greedy)

    @property
    def has_times(self) -> bool:
        """Whether it is known where the words are: not by an attention decoder."""
        return self.attention is None

    @property
    def blank(self) -> int:
        """Index of the CTC blank."""
        return int(self.dictionary.index(BLANK))

    @property
    def frames(self) -> FrameModel:
        """The model as waveforms in, what its decoder reads out."""
        return FrameModel(
            self.model,
            log_probs if self.attention is None else encoder_frames,
            self.geometry,
            len(self.dictionary),
            self.sample_rate,
            self.normalize,
            self.padding_invariant,
        )

    @property
    def greedy(self) -> GreedyDecoder:
        """The decoder without a language model; end-of-sentence is no part of a text."""
        return GreedyDecoder(self.blank, frozenset({self.dictionary.eos()}))

    def spell(self, symbols: Iterable[int]) -> list[str]:
        """The texts of symbols; <unk> and <pad> are one character, so each counts as one error."""
        special = self.dictionary.nspecial
        return [UNKNOWN if index < special else str(self.dictionary[index]) for index in symbols]

    def transcribe(
        self,
        waveforms: Waveforms,
        sample_rate: int | None = None,
        decoder: Decoder | None = None,
    ) -> list[Transcript]:
        """Transcribe one waveform or several, of any lengths: arrays, tensors or paths.

        Args:
            waveforms: arrays or tensors of (S,), mono, or paths of audio files.
            sample_rate: Hz of the arrays, which are resampled; the model's if None.
            decoder: what decodes; the recognizer's own if None.

        Raises:
            ValueError: a waveform cannot be used; the message says which, and why.
        """
        return self.transcription(decoder, sample_rate=sample_rate).all_of(as_list(waveforms))

    def transcription(
        self,
        decoder: Decoder | None = None,
        batch_seconds: float = 60.0,
        sample_rate: int | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> Run[Transcript]:
        """What transcribes recordings one after the other, and skips those that cannot be read."""
        chosen = decoder or self.decoder

        def finish(recording: Recording, frames: Iterable[Tensor]) -> Transcript:
            return self._transcript(recording, chosen.decode(frames)[0])

        return Run(self.frames, finish, batch_seconds, sample_rate, progress)

    def _transcript(self, recording: Recording, best: Hypothesis) -> Transcript:
        flags = flags_of(recording, self.geometry)
        frame_seconds = self.geometry.hop_length / self.sample_rate
        # Whatever the model makes of a flagged recording, nobody speaks in it.
        spelled = [] if flags else self.spell(best.symbols)
        text = join_symbols(" ".join(spelled), self.post_process)
        timed = text and self.has_times
        return Transcript(
            name=recording.name,
            text=text,
            seconds=round(recording.seconds, 3),
            confidence=geometric_mean(best.confidence) if text else None,
            words=words_of(best, spelled, self.post_process, frame_seconds) if timed else [],
            flags=flags,
        )


def load_recognizer(
    path: Path | str, data: Path | str | None = None, dictionary: Path | str | None = None
) -> Recognizer:
    """Build the model of a fine-tuned checkpoint; no path stored inside it is used.

    Args:
        path: the checkpoint of a ``wav2vec_ctc`` or ``wav2vec_seq2seq`` fine-tuning run, or the
            run's folder; from MGF or stock wav2vec 2.0.
        data: the manifest's folder, where ``dict.<labels>.txt`` is looked for if need be; the
            checkpoint's own folder if None.
        dictionary: a dictionary file (or its folder) to use instead of the checkpoint's own.

    Raises:
        CheckpointError: another kind of checkpoint, or weights and dictionary do not fit.
    """
    path = find_checkpoint(path)
    state = read_checkpoint(path)
    with interpreting(path):
        folder = path.parent if data is None else Path(data)
        return _recognizer(state, path, folder, Path(dictionary) if dictionary else None)


def _recognizer(
    state: dict[str, Any], path: Path, data: Path, dictionary: Path | None
) -> Recognizer:
    config = recognizer_config(state, path)
    labels = str(config.task.labels)
    weight = state["model"].get("w2v_encoder.proj.weight")
    outputs = None if weight is None else len(weight)
    symbols = symbols_of(state, path, labels, dictionary, data, outputs)
    model = build_recognizer(config, symbols, state["model"], data, path)
    encoder = config.model.w2v_args.model
    geometry = ConvGeometry.of(parse_conv_layers(str(encoder.conv_feature_layers)))
    frame_rate = float(config.task.sample_rate) / geometry.hop_length
    attends = config.model._name == SEQ2SEQ
    history = state.get("optimizer_history") or [{}]
    return Recognizer(
        model=model,
        dictionary=symbols,
        geometry=geometry,
        normalize=bool(config.task.normalize),
        sample_rate=int(config.task.sample_rate),
        labels=labels,
        post_process=POST_PROCESS_OF_LABELS.get(
            labels, str(OmegaConf.select(config, "criterion.post_process") or "letter")
        ),
        padding_invariant=OmegaConf.select(encoder, "extractor_mode") != "default",
        num_updates=int(history[-1].get("num_updates", 0)),
        freeze_finetune_updates=int(config.model.freeze_finetune_updates),
        attention=AttentionDecoder(model, symbols, frame_rate) if attends else None,
    )
