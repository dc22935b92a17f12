"""Make a folder of recordings for the tutorial: strings of digits by many voices, with transcripts.

    python examples/tutorial/digits.py --dest recordings

It takes the place of audio of your own and looks as such a folder often does: a folder per speaker,
and beside each recording a .txt with what is said. The voices are those of espeak-ng.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import random
import sys
import zlib
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "quickstart"))
from espeak import Espeak

SAMPLE_RATE = 16000
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
VOICES = {
    "anna": "en-us+f1",
    "bruno": "en-us+m1",
    "clara": "en+f2",
    "david": "en+m2",
    "elena": "en-us+f3",
    "felix": "en-gb-scotland+m3",
    "grace": "en-gb-x-rp+f4",
    "henry": "en-us+m4",
    "irene": "en-us-nyc+f5",
    "jonas": "en-gb-x-rp+m8",
    "karen": "en-us+Annie",
    "louis": "en-us-nyc+m6",
}


def make_speaker(dest: Path, speaker: str, count: int) -> float:
    """Write `count` recordings of one voice and their transcripts; the seconds of audio."""
    chance = random.Random(speaker)
    engine = Espeak(seed=zlib.crc32(speaker.encode()))
    engine.set_voice(VOICES[speaker])
    folder = dest / speaker
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    for number in range(count):
        words = " ".join(chance.choices(DIGITS, k=chance.randint(3, 7)))
        raw, _ = engine.say(words, rate=chance.randint(140, 190), volume=60)
        waveform = soxr.resample(raw.astype(np.float32) / 32768, engine.sample_rate, SAMPLE_RATE)
        path = folder / f"{speaker}-{number:03d}.flac"
        soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
        path.with_suffix(".txt").write_text(words + "\n", encoding="utf-8")
        seconds += len(waveform) / SAMPLE_RATE
    return seconds


def main(argv: list[str] | None = None) -> int:
    """The command: see --help."""
    parser = argparse.ArgumentParser(description="Synthesize strings of digits by many voices.")
    parser.add_argument("--dest", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=40, help="recordings per voice (40)")
    parser.add_argument("--voices", type=int, default=len(VOICES), help="how many voices (12)")
    args = parser.parse_args(argv)
    if not 2 <= args.voices <= len(VOICES) or args.count < 1:
        parser.error(f"--voices must be 2 to {len(VOICES)}, --count at least 1")
    if args.dest.is_dir() and any(args.dest.iterdir()):
        parser.error(f"{args.dest} is not empty: choose another --dest")
    if importlib.util.find_spec("espeakng_loader") is None:
        parser.error("the voices are missing: pip install espeakng-loader")
    jobs = [(args.dest, speaker, args.count) for speaker in list(VOICES)[: args.voices]]
    # A process per voice, since the engine carries state from one call to the next.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        seconds = sum(pool.starmap(make_speaker, jobs, chunksize=1))
    print(
        f"{len(jobs) * args.count} recordings by {len(jobs)} voices, {seconds / 60:.1f} minutes: "
        f"{args.dest}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
