"""Synthesize the quickstart's corpus: many voices, texts of our own, exact phone times.

It replaces real recordings in `run.sh` and in tests: a folder of sentences and one of commands,
which `mgf prepare` reads. The column `emotion` holds speaking styles, so that the emotion task has
classes; voices.py and texts.py say who speaks and what.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import random
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from espeak import Espeak, Phone
from texts import KINDS, digest, texts_of, transcript
from tqdm import tqdm
from voices import STYLES, Speaker, Style, fold_of, speakers_of

VERSION = 5  # raise it when the output changes for the same parameters
SAMPLE_RATE = 16000
EDGE_SILENCE = (0.05, 0.20)  # seconds before the first phone and after the last, drawn evenly
BLOCK = SAMPLE_RATE // 100  # lengths are whole blocks of 10 ms, so that printed times are exact
HELD_OUT = 5  # every fifth utterance of a training speaker is for the speaker task's test
STAMP = "corpus.json"
COLUMNS = ("utt", "path", "speaker", "sex", "emotion", "fold", "num_samples", "split", "text")


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process makes: `seconds` of one speaker, written under `dest`."""

    dest: str
    speaker: Speaker
    seconds: float
    seed: int
    kind: str


@dataclasses.dataclass(frozen=True)
class Made:
    """What came out of a job: the lines of both tables, and the audio samples behind them."""

    speaker: str
    metadata: list[str]
    phones: list[str]
    num_samples: int


def record(
    raw: npt.NDArray[np.int16], rate: int, speaker: Speaker, style: Style, noise_seed: int
) -> npt.NDArray[np.int16]:
    """Resample, apply the speaker's microphone and the style's gain, and add a noise floor."""
    waveform = soxr.resample(raw.astype(np.float32) / 32768, rate, SAMPLE_RATE)
    waveform = waveform[: len(waveform) // BLOCK * BLOCK]
    waveform[1:] -= speaker.tilt * waveform[:-1]
    waveform *= 10 ** (style.gain / 20)
    noise = np.random.default_rng(noise_seed).standard_normal(len(waveform), dtype=np.float32)
    waveform += 10 ** ((-66 - 20 * abs(speaker.tilt)) / 20) * noise
    peak = float(np.abs(waveform).max())
    if peak > 0.95:
        waveform *= 0.95 / peak
    return np.round(waveform * 32767).astype(np.int16)


def set_edges(
    raw: npt.NDArray[np.int16], phones: list[Phone], lead: int, trail: int
) -> tuple[npt.NDArray[np.int16], list[Phone]]:
    """Begin with `lead` and end with `trail` samples of silence, whatever the engine left there."""
    spoken = [phone for phone in phones if phone.label != "SIL"]
    first, last = spoken[0].start, spoken[-1].end
    shift = lead - first
    moved = [
        Phone(phone.start + shift, phone.end + shift, phone.label)
        for phone in phones
        if phone.start >= first and phone.end <= last
    ]
    end = moved[-1].end
    raw = np.pad(raw[first:last], (lead, trail))
    return raw, [Phone(0, lead, "SIL"), *moved, Phone(end, end + trail, "SIL")]


def phone_lines(utt: str, phones: list[Phone], rate: int, num_samples: int) -> list[str]:
    """Lines of phones.tsv in seconds: they tile the utterance from 0 to its last sample."""
    duration = num_samples / SAMPLE_RATE
    edges = [min(phone.start / rate, duration) for phone in phones] + [duration]
    return [
        f"{utt}\t{start:.4f}\t{end:.4f}\t{phone.label}"
        for phone, start, end in zip(phones, edges, edges[1:], strict=False)
        if f"{end:.4f}" != f"{start:.4f}"
    ]


def make_speaker(job: Job) -> Made:
    """Speak in all styles until the job's seconds are reached; one process each."""
    speaker = job.speaker
    engine = Espeak(seed=zlib.crc32(f"{job.seed}/{speaker.name}".encode()))
    engine.set_voice(speaker.voice)
    chance = random.Random(f"{job.seed}/{speaker.name}")
    texts = texts_of(job.kind, speaker.split, job.seed, chance)
    folder = Path(job.dest) / "audio" / speaker.name
    folder.mkdir(parents=True, exist_ok=True)
    made = Made(speaker.name, [], [], 0)
    total, styles = 0, []
    while total < job.seconds * SAMPLE_RATE:
        styles = styles or chance.sample(sorted(STYLES), len(STYLES))
        sentence, style_name = next(texts), styles.pop()
        number = len(made.metadata) + 1
        utt = f"{speaker.name}-{number:04d}"
        style = STYLES[style_name]
        raw, phones = engine.say(
            sentence,
            rate=round(speaker.rate * style.rate * chance.uniform(0.95, 1.05)),
            pitch=min(max(speaker.pitch + style.pitch + chance.randint(-2, 2), 0), 99),
            range=style.range,
            volume=60,  # of 200: loud voices clip inside the engine at its default of 100
        )
        lead, trail = (round(chance.uniform(*EDGE_SILENCE) * engine.sample_rate) for _ in "ab")
        raw, phones = set_edges(raw, phones, lead, trail)
        noise_seed = zlib.crc32(f"{job.seed}/{utt}".encode())
        audio = record(raw, engine.sample_rate, speaker, style, noise_seed)
        soundfile.write(folder / f"{utt}.flac", audio, SAMPLE_RATE, subtype="PCM_16")
        split = speaker.split
        if job.kind == "sentences" and split == "train" and number % HELD_OUT == 0:
            split = "speaker_test"
        row = (
            *(utt, f"audio/{speaker.name}/{utt}.flac", speaker.name, speaker.sex, style_name),
            *(fold_of(speaker), len(audio), split, transcript(sentence)),
        )
        made.metadata.append("\t".join(map(str, row)))
        made.phones.extend(phone_lines(utt, phones, engine.sample_rate, len(audio)))
        total += len(audio)
    return dataclasses.replace(made, num_samples=total)


def parameters(kind: str, minutes: float, seed: int) -> dict[str, object]:
    """Everything that the output depends on."""
    found = {"version": VERSION, "kind": kind, "minutes": minutes, "seed": seed}
    return {**found, "texts": digest()}


def read_stamp(dest: Path) -> dict[str, object]:
    """The stamp of an earlier run, or an empty one."""
    try:
        stamp = json.loads((dest / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_complete(dest: Path, wanted: dict[str, object]) -> bool:
    """Whether `dest` already holds all of what `wanted` describes."""
    stamp, table = read_stamp(dest), dest / "metadata.tsv"
    if stamp.get("parameters") != wanted or not stamp.get("utterances") or not table.is_file():
        return False
    rows = table.read_text(encoding="utf-8").splitlines()[1:]
    audio = (dest / row.split("\t")[1] for row in rows)
    return len(rows) == stamp["utterances"] and all(path.is_file() for path in audio)


def write_lines(path: Path, header: tuple[str, ...], lines: list[str]) -> None:
    """Write a table, which appears under its name only when it is complete."""
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(["\t".join(header), *lines]) + "\n", encoding="utf-8")
    partial.replace(path)


def generate(
    dest: Path, minutes: float, seed: int = 1, workers: int = 2, kind: str = KINDS[0]
) -> bool:
    """Write a corpus of one kind to `dest`; False if it is there already."""
    if minutes <= 0:
        raise ValueError(f"minutes must be above 0, not {minutes}")
    wanted = parameters(kind, minutes, seed)
    if is_complete(dest, wanted):
        return False
    if dest.is_dir() and any(dest.iterdir()) and not (dest / STAMP).is_file():
        raise FileExistsError(f"{dest} holds something else: choose an empty folder for --dest")
    dest.mkdir(parents=True, exist_ok=True)
    (dest / STAMP).write_text(json.dumps({"parameters": wanted}), encoding="utf-8")
    shutil.rmtree(dest / "audio", ignore_errors=True)

    speakers = speakers_of(kind)
    seconds = minutes * 60 / len(speakers)
    jobs = [Job(str(dest), speaker, seconds, seed, kind) for speaker in speakers]
    # A fresh process per speaker, so that the engine's state, and every byte, is always the same;
    # forked from one that has imported what takes long.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "soundfile", "soxr", "tqdm"])
    with (
        context.Pool(min(workers, len(jobs)), maxtasksperchild=1) as pool,
        tqdm(total=len(jobs), desc=f"synthesize {kind}", unit="speaker", disable=None) as progress,
    ):
        made = []
        for result in pool.imap_unordered(make_speaker, jobs, chunksize=1):
            made.append(result)
            minutes_made = sum(one.num_samples for one in made) / SAMPLE_RATE / 60
            progress.set_postfix_str(f"{minutes_made:.1f} min of audio")
            progress.update()
    made.sort(key=lambda one: one.speaker)
    metadata = [line for one in made for line in one.metadata]
    write_lines(dest / "metadata.tsv", COLUMNS, metadata)
    phones = [line for one in made for line in one.phones]
    write_lines(dest / "phones.tsv", ("utt", "start", "end", "phone"), phones)
    samples = sum(one.num_samples for one in made)
    stamp = {"parameters": wanted, "utterances": len(metadata), "num_samples": samples}
    (dest / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return True


def main(argv: list[str] | None = None) -> int:
    """The command: see --help."""
    parser = argparse.ArgumentParser(description="Synthesize a small multi-speaker English corpus.")
    parser.add_argument("--dest", type=Path, required=True, help="folder to write")
    for kind in KINDS:
        parser.add_argument(
            f"--{kind}", type=float, default=15.0, metavar="MINUTES", help="to make (default 15)"
        )
    parser.add_argument("--seed", type=int, default=1, help="another seed, another corpus")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    args = parser.parse_args(argv)
    for kind in KINDS:
        dest = args.dest / kind
        try:
            fresh = generate(dest, getattr(args, kind), args.seed, args.workers, kind)
        except (ValueError, OSError) as error:
            parser.error(str(error))
        except ModuleNotFoundError as error:
            parser.error(f"{error}: pip install espeakng-loader")
        stamp = read_stamp(dest)
        minutes = int(str(stamp["num_samples"])) / SAMPLE_RATE / 60
        state = "written to" if fresh else "already in"
        print(
            f"{kind}: {stamp['utterances']} utterances, {len(speakers_of(kind))} speakers, "
            f"{minutes:.1f} minutes, {state} {dest}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
