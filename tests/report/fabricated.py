"""Make result folders out of thin air, in the format that the evaluations write.

    python tests/report/fabricated.py RESULTS

writes a whole grid with plausible numbers, for looking at the report; tests write smaller ones.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mgf_fairseq.evaluation.result_files import write_embeddings, write_record
from mgf_fairseq.evaluation.results import (
    CHOSEN_PER_FOLD,
    ClassScore,
    Embeddings,
    Example,
    RecognitionResult,
    Representation,
    SplitSize,
    TaskData,
    TaskResult,
    UpstreamResult,
    UtteranceCounts,
)
from mgf_fairseq.extract.infilled import Infilling, write_infilling
from mgf_fairseq.report.figures.arpabet import MANNERS

LAYERS = ["layer 0", "layer 1", "layer 2"]
PHONES = [phone for phones in MANNERS.values() for phone in phones]
PHONES = sorted(phone for phone in PHONES if phone not in ("AX", "SP", "SPN", "NSN"))
EMOTIONS = ["anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"]
METRICS = {
    "phone": ("accuracy", "accuracy_no_sil"),
    "speaker": ("accuracy",),
    "emotion": ("uar", "accuracy"),
}
PROVENANCE: dict[str, Any] = {
    "command": "mgf evaluate --checkpoint runs/all/checkpoint_last.pt --data data --dest results",
    "commit": "0123abc",
    "hardware": "2 cores of an imagined processor, torch 2.13.0",
    "date": "2026-11-25T12:00:00+00:00",
    "seconds": 61.5,
}


def upstream(name: str, kind: str = "mgf", **changes: Any) -> UpstreamResult:
    """An upstream of 3 layers, or of one for fbank and mfcc."""
    layers = [kind] if kind in ("fbank", "mfcc") else LAYERS
    trained = kind in ("mgf", "wav2vec2")
    made = UpstreamResult(
        name=name,
        group=name,
        kind=kind,
        layer_names=layers,
        fingerprint=f"fingerprint of {name}",
        path=f"runs/{name}/checkpoint_last.pt",
        seed=1 if trained else None,
        num_updates=2000 if trained else None,
        audio_hours=26.7 if trained else None,
        train_seconds=1800.0 if trained else None,
        config={"size": "4 x 192"} if trained else {},
    )
    return replace(made, **changes)


def data(task: str, classes: list[str] | None = None) -> TaskData:
    """Sizes as of a small corpus."""
    default = {"phone": PHONES, "speaker": [f"s{i}" for i in range(12)], "emotion": EMOTIONS}
    size = SplitSize(utterances=100, hours=0.5, items=9000)
    return TaskData(
        folder="emodb" if task == "emotion" else "librispeech-mini",
        classes=classes if classes is not None else default.get(task, []),
        train=SplitSize(utterances=1000, hours=3.93, items=700000),
        valid=size,
        test=size,
        note="labels made by machine (silver)" if task == "phone" else "",
    )


def probed(
    task: str,
    score: float,
    *,
    layers: list[str] = LAYERS,
    seeds: tuple[float, ...] = (-0.5, 0.0, 0.5),
    classes: list[str] | None = None,
    **changes: Any,
) -> TaskResult:
    """A result whose chosen layer, the last but one, has `score` plus one of `seeds` per seed."""
    about = data(task, classes)
    random = np.random.default_rng(len(layers))
    names = [*layers, "weighted sum"] if len(layers) > 1 else layers
    chosen = max(0, len(layers) - 2)
    steps = [-3.0 * abs(index - chosen) for index in range(len(names))]
    poolings = ["mean", "mean+std"] if task == "emotion" else [None]
    representations = [
        Representation(
            name=f"{name}, {pooling}" if pooling else name,
            layer=name,
            pooling=pooling,
            valid={m: [score + step + s + 1 for s in seeds] for m in METRICS[task]},
            test={
                m: [score + step + s - 4.0 * i - 2.0 * p for s in seeds]
                for i, m in enumerate(METRICS[task])
            },
        )
        for p, pooling in enumerate(poolings)
        for name, step in zip(names, steps, strict=True)
    ]
    if task == "emotion":  # each fold chose for itself
        best = representations[chosen]
        per_fold = replace(best, name=CHOSEN_PER_FOLD, layer=CHOSEN_PER_FOLD, pooling=None)
        representations.append(per_fold)
        chosen = len(representations) - 1
    count = len(about.classes)
    confusion = random.integers(0, 30, (count, count)) ** 2 // 40 + np.eye(count, dtype=int) * 300
    weights = random.random(len(layers)) if len(layers) > 1 else np.empty(0)
    made = TaskResult(
        **PROVENANCE,
        task=task,
        metric=METRICS[task][0],
        data=about,
        protocol={"optimizer": "Adam", "learning_rate": 0.001, "batch": 4096, "epochs": 20},
        key=f"{task} {score}",
        seeds=list(range(1, 1 + len(seeds))),
        representations=representations,
        chosen=chosen,
        low=score - 1.2,
        high=score + 1.3,
        chance={m: 100 / count if m == "uar" else 12.5 for m in METRICS[task]},
        layer_weights=(weights / weights.sum()).tolist() if len(weights) else [],
        confusion=confusion.tolist(),
        per_class=[
            ClassScore(label=name, precision=60.0, recall=50.0, f1=54.5, count=90)
            for name in about.classes
        ],
    )
    return replace(made, **changes)


def recognized(cer: float, **changes: Any) -> RecognitionResult:
    """A result of fine-tuning with three seeds."""
    values = [cer - 0.4, cer, cer + 0.4]
    made = RecognitionResult(
        **{**PROVENANCE, "commit": "0123abc, trained at 4567def, 0123abc"},
        data=data("asr"),
        protocol={"config": "ctc_quick", "updates": 1000, "decoding": "greedy"},
        key=f"asr {cer}",
        seeds=[1, 2, 3],
        valid={"cer": values, "wer": [98.0] * 3, "blank_ratio": [0.8] * 3},
        test={
            "cer": values,
            "wer": [min(100.0, v * 1.5) for v in values],
            "blank_ratio": [0.8] * 3,
        },
        low=cer - 0.8,
        high=cer + 0.7,
        examples=[Example(reference="HE SAID NOTHING", hypothesis="HE SED NOTING")],
    )
    return replace(made, **changes)


def counted(*shares: float, each: int = 3, speakers: bool = True) -> list[UtteranceCounts]:
    """`each` utterances of 100 items per speaker, of which this share (in percent) is hit.

    Of one class and one seed; for recognition, 100 characters (and words) with so many errors.
    """
    return [
        UtteranceCounts(
            entry=f"{number}-{take}.wav",
            speaker=f"speaker {number}" if speakers else "",
            counts=[0, 100, round(share), 1, 100, round(share)],
        )
        for number, share in enumerate(shares)
        for take in range(each)
    ]


def embeddings(labels: list[str], each: int, seed: int = 1) -> Embeddings:
    """One cloud of 8 dimensions per label, four voices in each."""
    random = np.random.default_rng(seed)
    centers = random.normal(0, 2, (len(labels), 8))
    vectors = np.concatenate([random.normal(0, 1, (each, 8)) + center for center in centers])
    return Embeddings(
        vectors.astype(np.float32),
        [label for label in labels for _ in range(each)],
        [f"voice {index % 4}" for _ in labels for index in range(each)],
    )


def write_training(path: Path, objectives: list[str], updates: int = 2000, seed: int = 1) -> None:
    """Write curves that go the right way."""
    random = np.random.default_rng(seed)
    ends = {
        "sample": {"sample_si_sdr": (-35.0, 1.0)},
        "frame": {"frame_mel": (0.44, 0.09), "frame_mel_masked": (0.44, 0.22)},
        "phoneme": {"phoneme_accuracy": (0.01, 0.18)},
        "utterance": {"utterance_accuracy": (0.08, 0.75)},
        "wav2vec2": {"accuracy": (0.01, 0.12)},
    }
    with path.open("w", encoding="utf-8") as stream:
        for update in range(25, updates + 1, 25):
            way = 1 - np.exp(-4 * update / updates)
            entry: dict[str, float | str] = {"kind": "train_inner", "num_updates": update}
            for objective in objectives:
                entry[f"loss_{objective}"] = 3 - 2 * way + 0.05 * random.normal()
                for name, (start, end) in ends[objective].items():
                    noise = 0.03 * random.normal()
                    entry[name] = start + (end - start) * min(1.0, max(0.0, way + noise))
            entry |= {"loss": 5 - 2 * way, "phoneme_chance": 0.0099, "utterance_chance": 0.067}
            stream.write(json.dumps(entry) + "\n")
            if update % 500 == 0:
                stream.write(json.dumps({**entry, "kind": "valid"}) + "\n")


def write_audio(folder: Path, seconds: float = 2.0) -> None:
    """Write a vowel-like sound and a noisy copy of it."""
    time = np.arange(int(16000 * seconds)) / 16000
    sound = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    sound = 0.1 * sound * np.square(np.sin(3 * time))
    noise = np.random.default_rng(1).normal(0, 0.02, len(time))
    soundfile.write(folder / "original.wav", sound, 16000, subtype="PCM_16")
    soundfile.write(folder / "reconstruction.wav", sound + noise, 16000, subtype="PCM_16")


def write_masked(path: Path) -> None:
    """Write a rising sound of two seconds, and a blurred guess at two masked stretches of it."""
    bins, frames = np.arange(80), np.arange(100)
    original = 20 - 3.0 * np.abs(bins - frames[:, None] % 60)
    masked = np.isin(frames // 10, (2, 5, 6))
    blurred = (original + np.roll(original, 5, axis=1)) / 2
    filled = np.where(masked[:, None], blurred, original)
    spectra = original.astype(np.float32), filled.astype(np.float32)
    write_infilling(path, Infilling(*spectra, masked, (bins * 100.0).astype(np.float32), 50.0))


def write_folder(
    results: Path, about: UpstreamResult, *tasks: TaskResult | RecognitionResult
) -> Path:
    """Write one result folder with the JSON files alone."""
    folder = results / about.name
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / "upstream.json", about)
    for task in tasks:
        write_record(folder / f"{task.task}.json", task)
    return folder


def write_whole(
    results: Path,
    about: UpstreamResult,
    scores: tuple[float, float, float, float | None],
    objectives: list[str] | None = None,
    each: int = 12,
) -> Path:
    """Write a result folder with everything in it."""
    layers = about.layer_names
    tasks: list[Any] = [
        probed(task, score, layers=layers)
        for task, score in zip(METRICS, scores[:3], strict=True)
        if score is not None
    ]
    if scores[3] is not None:
        tasks.append(recognized(scores[3]))
    folder = write_folder(results, about, *tasks)
    seed = about.seed or 1
    write_embeddings(folder / "speaker.npz", embeddings([f"s{i}" for i in range(12)], each, seed))
    write_embeddings(folder / "emotion.npz", embeddings(EMOTIONS, each, seed))
    if objectives:
        write_training(folder / "training.jsonl", objectives, seed=seed)
    if objectives and "sample" in objectives:
        write_audio(folder)
    if objectives and "frame" in objectives:
        write_masked(folder / "infilling.npz")
    return folder


def write_grid(results: Path) -> None:
    """Write the rows of EVALUATION.md: baselines, MGF, and its ablation."""
    every = ["sample", "frame", "phoneme", "utterance"]
    write_whole(results, upstream("fbank", "fbank"), (38.3, 61.0, 51.6, None))
    write_whole(results, upstream("mfcc", "mfcc"), (43.1, 66.0, 66.9, None))
    write_whole(results, upstream("random", "random", seed=1), (33.4, 55.0, 50.2, 94.6))
    for seed in (1, 2):
        shift = 0.9 * (seed - 1)
        name = f"wav2vec2-s{seed}"
        about = upstream(name, "wav2vec2", seed=seed, group="wav2vec2")
        write_whole(results, about, (45.2 + shift, 70.1, 58.0, 70.3), ["wav2vec2"])
        config = {"size": "4 x 192", "objectives": every}
        about = upstream(f"all-s{seed}", seed=seed, group="mgf all", config=config)
        write_whole(results, about, (52.2 + shift, 88.1, 68.1, 61.3 - shift), every, each=40)
    for index, name in enumerate(every):
        rest = [other for other in every if other != name]
        for title, kept in ((f"mgf no {name}", rest), (f"mgf only {name}", [name])):
            about = upstream(title.replace(" ", "-"), group=title)
            about = replace(about, config={"size": "4 x 192", "objectives": kept})
            down = index + 3.0 * (4 - len(kept))
            write_whole(results, about, (51.5 - down, 87.0 - down, 66.0 - down, 63.0 + down), kept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} RESULTS")
    write_grid(Path(sys.argv[1]))
