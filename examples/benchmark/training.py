"""A pre-training end to end through fairseq-hydra-train on synthetic audio: what its log measured.

Prints audio seconds per second, the share of time that waits for data, and each objective's loss at
the first and the last entry of the log.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import write_manifest
from mgf_fairseq.host.training_process import override, training_command
from mgf_fairseq.monitoring.training_log import LOG_NAME, read_log
from mgf_fairseq.utils.package import config_dir

RATE = 16_000
LOSSES = ("loss_sample", "loss_frame", "loss_phoneme", "loss_utterance")


def write_corpus(folder: Path, files: int, seconds: float) -> Path:
    """Write sounds like speech and their manifests; an eighth of them is the set valid."""
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(1), []
    time = np.arange(round(seconds * RATE)) / RATE
    for number in range(files):
        phase = 2 * np.pi * rng.uniform(90, 220) * (time + 0.01 * np.sin(5 * time))
        voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase) for k in range(1, 9))
        envelope = 0.55 + 0.45 * np.sin(rng.uniform(15, 30) * time)
        wave = 0.1 * envelope * voice + 0.01 * rng.standard_normal(len(time))
        soundfile.write(audio / f"{number:05d}.wav", wave.astype(np.float32), RATE)
        rows.append((f"{number:05d}.wav", len(wave)))
    held_out = max(2, files // 8)
    write_manifest(folder / "valid.tsv", audio, rows[:held_out])
    write_manifest(folder / "train.tsv", audio, rows[held_out:])
    return folder


def summary(log: Path) -> dict[str, Any]:
    """Read from a log the speed, the wait for data, and the losses at its first and last entry.

    Raises:
        ValueError: the log has fewer than two entries.
    """
    entries = read_log(log, "train_inner")
    if len(entries) < 2:
        raise ValueError(f"{log} has {len(entries)} entries; train for longer: --minutes")
    later = entries[1:]  # the first holds the start
    return {
        "updates": int(entries[-1]["num_updates"]),
        "audio_s_per_s": float(np.median([entry["audio_s_per_s"] for entry in later])),
        "data_wait": float(np.median([entry["data_wait"] for entry in later])),
        "losses": {name: (entries[0][name], entries[-1][name]) for name in LOSSES},
    }


def print_summary(found: dict[str, Any]) -> None:
    """Print what `summary` found."""
    print(f"updates     {found['updates']}")
    print(f"audio s/s   {found['audio_s_per_s']:.1f}, end to end")
    print(f"data_wait   {found['data_wait']:.1%}")
    for name, (first, last) in found["losses"].items():
        print(f"{name:<16}{first:>9.3f} at first{last:>9.3f} at last")


def main() -> None:
    """Write the audio, train, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="mgf_small", help="name in mgf configs")
    parser.add_argument("--folder", type=Path, required=True, help="of audio, checkpoint and log")
    parser.add_argument("--files", type=int, default=1200, help="of audio")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each file")
    parser.add_argument("--minutes", type=float, default=1.5, help="then it saves and ends")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("settings", nargs="*", help="hydra overrides, as in run=gpu_1")
    arguments = parser.parse_args()
    data = write_corpus(arguments.folder / "data", arguments.files, arguments.seconds)
    run = arguments.folder / arguments.recipe
    command = training_command(
        config_dir("pretrain") / f"{arguments.recipe}.yaml",
        [
            override("task.data", data.resolve()),
            override("checkpoint.save_dir", run.resolve()),
            override("optimization.stop_time_hours", arguments.minutes / 60),
            "common.log_interval=5",
            *arguments.settings,
        ],
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the training failed:\n{(done.stdout + done.stderr)[-3000:]}")
    found = summary(run / LOG_NAME)
    print_summary(found)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
