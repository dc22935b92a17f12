"""Load a fine-tuned stock ``wav2vec_ctc`` checkpoint, transcribe a manifest greedily, score it.

The work behind ``mgf score`` and the recognition task: checkpoint and audio in, one transcript per
line out, which wer.py judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2VecCtc
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from . import plugin as plugin  # the model in the checkpoint may be ours
from .batching import plan_batches
from .checkpoint import CheckpointError, config_of, find_checkpoint, read_checkpoint
from .checkpoint_files import interpreting
from .data.audio import AudioReader
from .data.corpora import read_lines
from .data.manifest import Manifest, read_manifest
from .lengths import ConvGeometry, padding_mask_of, parse_conv_layers
from .waveforms import Waveforms, as_rows
from .wer import CorpusScore, UtteranceScore, join_symbols, score_corpus, score_utterance

BLANK = "<s>"  # fairseq/tasks/audio_finetuning.py, AudioFinetuningTask.blank_symbol
UNKNOWN = "\u2047"
POST_PROCESS_OF_LABELS = {"ltr": "letter", "spm": "sentencepiece"}

_FIT = {
    "wav2vec_seq2seq": "an attention decoder: fairseq-validate with task.eval_wer gives its WER",
    "wav2vec_classification": "a classifier: mgf classify gives its labels",
    "hubert_ctc": "a HuBERT CTC model: mgf score reads wav2vec_ctc only",
    "hubert_seq2seq": "a HuBERT attention decoder: mgf score reads wav2vec_ctc only",
}


@dataclass(frozen=True)
class Recognizer:
    """A CTC model with all that is needed to use it as it was trained."""

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

    @property
    def blank(self) -> int:
        """Index of the CTC blank."""
        return int(self.dictionary.index(BLANK))


@dataclass(frozen=True)
class Decoded:
    """The greedy path of one utterance."""

    symbols: str
    frames: int
    blank_frames: int


def _config_of(state: dict[str, Any], path: Path) -> DictConfig:
    """Return the configuration, or say what kind of checkpoint this is and which command fits."""
    config = config_of(state, path)
    name = OmegaConf.select(config, "model._name")
    if name == "wav2vec_ctc":
        if not OmegaConf.select(config, "model.w2v_args"):
            raise CheckpointError(
                f"{path}: a wav2vec_ctc checkpoint without w2v_args; not scorable"
            )
        return config
    kind = _FIT.get(
        str(name),
        f"a {name!r} checkpoint, not one fine-tuned with CTC: if it is pre-trained, fine-tune it "
        "first (examples/finetune)",
    )
    raise CheckpointError(f"{path}: this is {kind}")


def _dictionary_of(
    state: dict[str, Any], labels: str, dictionary: Path | None, data: Path
) -> tuple[Dictionary, str]:
    """Return the dictionary and where it came from: the option, the checkpoint, the data folder."""
    held = (state.get("task_state") or {}).get("target_dictionary")
    if dictionary is None and isinstance(held, Dictionary):
        return held, "the checkpoint"
    path = dictionary or data / f"dict.{labels}.txt"
    if path.is_dir():
        path = path / f"dict.{labels}.txt"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such dictionary, and the checkpoint holds none; name it with --dict"
        )
    return Dictionary.load(str(path)), str(path)


def load_recognizer(
    path: Path | str, data: Path | str, dictionary: Path | str | None = None
) -> Recognizer:
    """Build the CTC model of a fine-tuned checkpoint; no path stored inside it is used.

    Args:
        path: the checkpoint of a ``wav2vec_ctc`` fine-tuning run, or the run's folder; from MGF or
            stock wav2vec 2.0.
        data: the manifest's folder, where ``dict.<labels>.txt`` is looked for if need be.
        dictionary: a dictionary file (or its folder) to use instead of the checkpoint's own.

    Raises:
        CheckpointError: another kind of checkpoint, or weights and dictionary do not fit.
    """
    path = find_checkpoint(path)
    state = read_checkpoint(path)
    with interpreting(path):
        return _recognizer(state, path, Path(data), Path(dictionary) if dictionary else None)


def _recognizer(
    state: dict[str, Any], path: Path, data: Path, dictionary: Path | None
) -> Recognizer:
    config = _config_of(state, path)
    labels = str(config.task.labels)
    symbols, origin = _dictionary_of(state, labels, dictionary, data)
    outputs = state["model"].get("w2v_encoder.proj.weight")
    if outputs is not None and outputs.shape[0] != len(symbols):
        raise CheckpointError(
            f"{path}: the model has {outputs.shape[0]} outputs but the dictionary from {origin} "
            f"has {len(symbols)} symbols (4 special ones included); give the one it was trained "
            "with by --dict"
        )
    model = _build(config, symbols, state["model"], data, path)
    encoder = config.model.w2v_args.model
    history = state.get("optimizer_history") or [{}]
    return Recognizer(
        model=model,
        dictionary=symbols,
        geometry=ConvGeometry.of(parse_conv_layers(str(encoder.conv_feature_layers))),
        normalize=bool(config.task.normalize),
        sample_rate=int(config.task.sample_rate),
        labels=labels,
        post_process=POST_PROCESS_OF_LABELS.get(
            labels, str(OmegaConf.select(config, "criterion.post_process") or "letter")
        ),
        padding_invariant=OmegaConf.select(encoder, "extractor_mode") != "default",
        num_updates=int(history[-1].get("num_updates", 0)),
        freeze_finetune_updates=int(config.model.freeze_finetune_updates),
    )


def _build(
    config: DictConfig, symbols: Dictionary, weights: dict[str, Tensor], data: Path, path: Path
) -> nn.Module:
    """Build ``wav2vec_ctc`` from the configuration inside the checkpoint and load its weights."""
    OmegaConf.set_struct(config, False)
    config.model.w2v_path = ""
    config.model.data = config.task.data = str(data)
    config.model.normalize = config.task.normalize
    try:
        model = Wav2VecCtc.build_model(config.model, SimpleNamespace(target_dictionary=symbols))
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, AssertionError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path}: its weights and its configuration differ: {reason}"
        ) from None
    return model.eval()  # type: ignore[no-any-return]


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
    failed: dict[int, str]  # row -> why its audio was left out


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
    return ManifestScore(score_corpus(scores), scores, failed)


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
