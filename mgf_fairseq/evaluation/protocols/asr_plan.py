"""What the recognition task needs, checked before anything long runs, and what decides its result.

asr.py carries a plan out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...baselines.acoustic_model import ACOUSTIC
from ...baselines.apc import MODEL as APC
from ...checkpoints.encoder import read_encoder
from ...data.entries import parse_entry
from ...encoder.config import EncoderConfig
from ...encoder.geometry import parse_conv_layers
from ...extract.upstream import Upstream
from ...utils.progress import Progress
from ..finetuning.recipe import Recipe
from ..finetuning.training import RecognitionError
from ..labeled import LabeledManifest, check_disjoint, read_labeled
from ..results import RECOGNITION
from .base import version_of

_TRANSFORMER = (
    *("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads"),
    *("layer_norm_first", "conv_pos", "conv_pos_groups"),
)


@dataclass(frozen=True)
class RecognitionOptions:
    """How the recognition task is run."""

    recipe: Recipe
    seeds: tuple[int, ...] = (1,)  # of fine-tuning: output layer, order of the batches
    shape: Path | None = None  # checkpoint whose Transformer fbank and mfcc train from scratch
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """All that is known of a recognition task before it runs."""

    upstream: Upstream
    data: Path
    options: RecognitionOptions
    splits: dict[str, str]  # train, valid, test -> manifest name without .tsv
    protocol: dict[str, Any]
    run_key: str  # digest of what decides one training, seed aside
    key: str  # ... and the seeds: equal keys, equal result


def plan_recognition(
    upstream: Upstream,
    data: Path,
    cache: Path,
    options: RecognitionOptions,
    progress: Progress | None = None,
) -> Plan:
    """Check everything that can be checked before anything long runs, and plan the task.

    Args:
        upstream: whose encoder is fine-tuned.
        data: a folder of ``mgf prepare``.
        cache: folder of features; what is known of audio files is kept there.
        options: the recipe and its seeds.
        progress: called as audio files are read for the first time.

    Raises:
        RecognitionError: the upstream cannot be fine-tuned, or the folder lacks a split or labels.
        ProbeError: two splits share a recording.
    """
    recipe = options.recipe
    dataset = recipe.config.dataset
    splits = {"train": str(dataset.train_subset), "valid": str(dataset.valid_subset)}
    splits["test"] = "test"
    files = [data / f"dict.{recipe.labels}.txt"]
    for split in splits.values():
        files += [data / f"{split}.tsv", data / f"{split}.{recipe.labels}"]
        _check_split(data, split, recipe.labels)
    if not files[0].is_file():
        raise RecognitionError(f"{files[0]} does not exist: {_fix(data, recipe.labels)}")
    shape = _check_upstream(upstream, options)
    labeled = [read_labeled(data, name, [recipe.labels]) for name in splits.values()]
    protocol = {**recipe.protocol, **version_of(RECOGNITION), "start": _start_in_words(upstream)}
    protocol["disjoint"] = check_disjoint(labeled, "utterances")
    for part in labeled:
        if part.name != splits["test"]:  # which we read ourselves
            _refuse_segments(part)
    if shape is not None:
        # Of the conv stack, the features have the frame grid: kernels and strides alone.
        grid = [layer[1:] for layer in parse_conv_layers(shape.conv_feature_layers)]
        sizes = {name: asdict(shape)[name] for name in _TRANSFORMER}
        protocol["transformer"] = {**sizes, "kernels_and_strides": [list(pair) for pair in grid]}
    digest = hashlib.sha256(json.dumps([upstream.fingerprint, protocol], sort_keys=True).encode())
    for path in files:
        digest.update(path.read_bytes())
    for part in labeled:
        digest.update(part.audio_key(cache, progress).encode())
    run_key = digest.hexdigest()[:20]
    digest.update(json.dumps(options.seeds).encode())
    return Plan(upstream, data, options, splits, protocol, run_key, digest.hexdigest()[:20])


def _check_split(data: Path, split: str, labels: str) -> None:
    """A split needs a manifest and labels."""
    path, label_path = data / f"{split}.tsv", data / f"{split}.{labels}"
    if not path.is_file():
        command = f"mgf prepare SOURCE --dest {data} --labels {labels}"
        if split == "test":
            command = f"mgf prepare SOURCE --dest {data} --labels {labels} --test-percent 0.1"
        raise RecognitionError(
            f"{path} does not exist, and recognition learns on train, chooses on valid and is "
            f"scored on test: {command}"
        )
    if not label_path.is_file():
        raise RecognitionError(
            f"{label_path} does not exist, so task asr cannot be run: {_fix(data, labels)}"
        )


def _refuse_segments(part: LabeledManifest) -> None:
    """Refuse segments: fairseq's fine-tuning reads their numbers as bytes, sometimes silently."""
    for row, entry in enumerate(part.manifest.paths):
        if parse_entry(entry).segment is not None:
            raise RecognitionError(
                f"{part.data / part.name}.tsv line {row + 2} ({entry}) is a segment of a "
                f"recording, which fairseq's fine-tuning cannot read: mgf shard {part.data} --dest "
                "DIR --cut makes files of them"
            )


def _fix(data: Path, labels: str) -> str:
    return f"mgf prepare SOURCE --dest {data} --labels {labels}, from a corpus with transcripts"


def _check_upstream(upstream: Upstream, options: RecognitionOptions) -> EncoderConfig | None:
    """Refuse what fairseq's recipe does not take; returns the shape that fbank and mfcc need."""
    name = upstream.info["name"]
    if upstream.kind == "hubert":
        raise RecognitionError(
            f"{name} is a HuBERT checkpoint, which fairseq fine-tunes as hubert_ctc: task asr "
            "takes MGF and wav2vec 2.0; leave asr out of --tasks"
        )
    if upstream.kind == APC:
        raise RecognitionError(
            f"{name} is an APC checkpoint, which no recipe fine-tunes: leave asr out of --tasks"
        )
    if upstream.info.get("fine_tuned"):
        raise RecognitionError(
            f"{name} is fine-tuned already: task asr starts from pre-trained checkpoints"
        )
    if upstream.kind not in ACOUSTIC:
        return None
    if options.shape is None:
        raise RecognitionError(
            f"{name} needs the sizes of a Transformer to train for task asr: evaluate it beside a "
            "checkpoint, or name one with --asr-shape"
        )
    return read_encoder(options.shape).config


def _start_in_words(upstream: Upstream) -> str:
    if upstream.kind in ACOUSTIC:
        return f"{upstream.kind} frames into a Transformer with random weights"
    random = upstream.kind == "random"
    return "random weights, drawn by the run's seed" if random else "pre-trained weights"
