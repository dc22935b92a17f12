"""Speech recognition as an evaluation: stock CTC fine-tuning by one recipe, then WER and CER.

The one task whose encoder is trained on; the others probe frozen features. Training runs as
``fairseq-hydra-train`` (training_run.py), decoding and scores are those of ``mgf score``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mgf_fairseq.acoustic_model import write_untrained
from mgf_fairseq.data.caveats import read_caveats
from mgf_fairseq.data.corpora import read_lines
from mgf_fairseq.data.digests import Progress
from mgf_fairseq.data.entries import parse_entry
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.encoder import EncoderConfig
from mgf_fairseq.extract import read_encoder
from mgf_fairseq.lengths import parse_conv_layers
from mgf_fairseq.scoring import ManifestScore, load_recognizer, score_manifest
from mgf_fairseq.training_run import training_command
from mgf_fairseq.upstream import ACOUSTIC, RANDOM, Upstream
from mgf_fairseq.wer import bootstrap_interval, join_symbols

from .finetuning import SUBWORDS, Recipe, Start, run_overrides
from .items import LabelledManifest, check_disjoint, read_labelled
from .provenance import commit, provenance
from .results import RECOGNITION, Example, RecognitionResult, SplitSize, TaskData
from .tasks import result_name
from .training import BEST, RecognitionError, Trained, train_once
from .versions import version_of

SAMPLE_RATE = 16000
_EXAMPLES = 8
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
    """Check all that can be checked before anything long runs, and say what will be done.

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
        raise RecognitionError(f"{files[0]} does not exist: {_mend(data, recipe.labels)}")
    shape = _check_upstream(upstream, options)
    labelled = [read_labelled(data, name, [recipe.labels]) for name in splits.values()]
    protocol = {**recipe.protocol, **version_of(RECOGNITION), "start": _start_in_words(upstream)}
    protocol["disjoint"] = check_disjoint(labelled, "utterances")
    for part in labelled:
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
    for part in labelled:
        digest.update(part.audio_key(cache, progress).encode())
    run_key = digest.hexdigest()[:20]
    digest.update(json.dumps(options.seeds).encode())
    return Plan(upstream, data, options, splits, protocol, run_key, digest.hexdigest()[:20])


def _check_split(data: Path, split: str, labels: str) -> None:
    """A split needs a manifest and labels."""
    path, label_path = data / f"{split}.tsv", data / f"{split}.{labels}"
    if not path.is_file():
        share = " --test-percent 0.1" if split == "test" else ""
        raise RecognitionError(
            f"{path} does not exist, and recognition learns on train, chooses on valid and is "
            f"scored on test: mgf prepare SOURCE --dest {data} --labels {labels}{share}"
        )
    if not label_path.is_file():
        raise RecognitionError(
            f"{label_path} does not exist, so task asr cannot be run: {_mend(data, labels)}"
        )


def _refuse_segments(part: LabelledManifest) -> None:
    """fairseq's fine-tuning takes the numbers of a segment for bytes, some of them quietly."""
    for row, entry in enumerate(part.manifest.paths):
        if parse_entry(entry).segment is not None:
            raise RecognitionError(
                f"{part.data / part.name}.tsv line {row + 2} ({entry}) is a segment of a "
                f"recording, which fairseq's fine-tuning cannot read: mgf shard {part.data} --dest "
                "DIR --cut makes files of them"
            )


def _mend(data: Path, labels: str) -> str:
    return f"mgf prepare SOURCE --dest {data} --labels {labels}, from a corpus with transcripts"


def _check_upstream(upstream: Upstream, options: RecognitionOptions) -> EncoderConfig | None:
    """Refuse what fairseq's recipe does not take; returns the shape that fbank and mfcc need."""
    name = upstream.info["name"]
    if upstream.kind == "hubert":
        raise RecognitionError(
            f"{name} is a HuBERT checkpoint, which fairseq fine-tunes as hubert_ctc: task asr "
            "takes MGF and wav2vec 2.0; leave asr out of --tasks"
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


def run_recognition(plan: Plan, work: Path, progress: Progress | None = None) -> RecognitionResult:
    """Fine-tune once per seed, choose on valid, score on test.

    Finished trainings are kept and not repeated; an interrupted one goes on. Seconds and commits of
    the result are those of all processes that had a part in it.

    Args:
        plan: what ``plan_recognition`` made.
        work: folder for the trainings; each leaves its log and its best checkpoint there.
        progress: called while scoring; training shows a bar of its own.

    Raises:
        TrainingError: a training stopped with an error.
    """
    folder = work / f"{plan.upstream.kind}-{plan.run_key}"
    start = _start(plan, folder)
    valid: list[ManifestScore] = []
    test: list[ManifestScore] = []
    trainings: list[Trained] = []
    seconds = 0.0
    for seed in plan.options.seeds:
        run = folder / f"seed{seed}"
        trainings.append(_train(plan, start, run, seed))
        scoring_since = time.monotonic()
        recognizer = load_recognizer(run / BEST, plan.data)
        for name, scores in (("valid", valid), ("test", test)):
            path = plan.data / f"{plan.splits[name]}.tsv"
            device = torch.device(plan.options.device)
            told = _Told(progress, f"transcribe {name}", len(read_manifest(path)))
            scores.append(score_manifest(recognizer, path, device=device, advance=told))
        seconds += trainings[-1].seconds + time.monotonic() - scoring_since
    low, high = _interval(test)
    origin = provenance(time.monotonic(), plan.options.device)
    origin = replace(origin, seconds=round(seconds, 1), commit=_commits(trainings, commit()))
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
    )


class _Told:
    """Counts what was advanced and tells the progress."""

    def __init__(self, progress: Progress | None, what: str, total: int) -> None:
        self.progress, self.what, self.total, self.done = progress, what, total, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(self.what, self.done, self.total)


def _start(plan: Plan, folder: Path) -> Start:
    """The checkpoint that fairseq is given; for fbank and mfcc it is written here."""
    upstream, options = plan.upstream, plan.options
    if upstream.kind in ACOUSTIC:
        assert options.shape is not None
        path = folder / f"{upstream.kind}.pt"
        if not path.is_file():
            held = read_encoder(options.shape)
            # The frame grid of the features, which need no conv stack.
            shape = replace(held.config, extractor_mode="layer_norm")
            write_untrained(path, upstream.kind, shape, upstream.sample_rate)
        return Start(path, True, True, upstream.sample_rate)
    text = str(upstream.info["path"])
    random = upstream.kind == "random"
    if random:
        text = text.removeprefix(RANDOM).rpartition("@")[0]
    held = read_encoder(text)
    return Start(Path(text), random, held.normalize, held.sample_rate)


def _train(plan: Plan, start: Start, run: Path, seed: int) -> Trained:
    """Run one training to its end, unless it stands."""
    recipe, cuda = plan.options.recipe, plan.options.device.startswith("cuda")
    command = training_command(
        recipe.path,
        [*run_overrides(start, plan.data, run, seed, cuda), *recipe.overrides],
    )
    name = f"asr, {result_name(plan.upstream)}, seed {seed}"
    return train_once(command, run, recipe.max_update, name)


def _commits(trainings: Sequence[Trained], scored: str) -> str:
    """The commit that all of it ran, or who ran which."""
    trained = list(dict.fromkeys(name for training in trainings for name in training.commits))
    return scored if trained == [scored] else f"{scored}, trained at {', '.join(trained)}"


def _rates(scores: Sequence[ManifestScore]) -> dict[str, list[float]]:
    """The metrics of a split, per seed."""
    names = ("wer", "cer", "blank_ratio")
    return {name: [getattr(score.corpus, name) for score in scores] for name in names}


def _interval(scores: Sequence[ManifestScore]) -> tuple[float, float]:
    """95 % interval of the CER over utterances, each with its errors in all seeds."""
    errors: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for score in scores:
        for item in score.utterances:
            errors[item.entry] += item.character_errors
            units[item.entry] += item.characters
    return bootstrap_interval([errors[entry] for entry in units], list(units.values()))


def _examples(score: ManifestScore) -> list[Example]:
    """Transcripts from all over the test split."""
    step = max(1, len(score.utterances) // _EXAMPLES)
    chosen = score.utterances[::step][:_EXAMPLES]
    return [Example(reference=item.reference, hypothesis=item.hypothesis) for item in chosen]


def _data(plan: Plan, test: Sequence[ManifestScore]) -> TaskData:
    labels = plan.options.recipe.labels
    lines = read_lines(plan.data / f"dict.{labels}.txt", "utf-8")
    notes = read_caveats(plan.data)
    failed = len(test[0].failed)
    if failed:
        notes.append(f"{failed} test utterance(s) could not be read and are left out")
    return TaskData(
        folder=plan.data.resolve().name,
        classes=[line.rpartition(" ")[0] for line in lines if line.strip()],
        note="; ".join(notes),
        **{name: _size(plan.data, split, labels) for name, split in plan.splits.items()},
    )


def _size(data: Path, split: str, labels: str) -> SplitSize:
    """How many utterances, hours and words."""
    manifest = read_manifest(data / f"{split}.tsv")
    rows = read_lines(data / f"{split}.{labels}", "utf-8")
    return SplitSize(
        utterances=len(manifest),
        hours=float(manifest.num_samples.sum()) / SAMPLE_RATE / 3600,
        items=sum(len(join_symbols(row, SUBWORDS[labels]).split()) for row in rows),
    )
