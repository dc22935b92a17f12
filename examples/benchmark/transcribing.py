"""What transcription costs: processor time of one CTC checkpoint in several forms, and memory.

All forms transcribe the same recordings one by one, on one thread, and take their turn in each
round. Memory is that of `mgf transcribe` for long recordings, which are recordings joined.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import soundfile
import torch
from machine import describe_machine, progress, status_mib
from torch import Tensor

from mgf_fairseq.acoustics.normalization import unit_variance
from mgf_fairseq.cli import main as mgf
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.export import export
from mgf_fairseq.extract.waveforms import as_rows
from mgf_fairseq.inference.recognizer import Recognizer
from mgf_fairseq.inference.wer import count_edits, join_symbols
from mgf_fairseq.utils.processor import bf16_instructions

MEMORY = "--memory-of"  # the option by which this script starts itself

Form = Callable[[Tensor], Tensor]  # (S,) -> (T, V) scores of symbols


def main() -> None:
    """Print speed, memory and whether long recordings are transcribed as in one piece, as JSON."""
    if sys.argv[1:2] == [MEMORY]:
        sys.exit(_memory_of(*sys.argv[2:]))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--checkpoint", required=True, help="of a fine-tuned CTC model, or the folder of its run")
    add(
        "--manifest",
        type=Path,
        required=True,
        help="recordings with their labels beside it, such as DATA/test.tsv",
    )
    add("--seconds", type=float, default=60.0, help="audio of a round (default: 60)")
    add("--rounds", type=int, default=5)
    add("--minutes", type=float, nargs="*", default=[2, 10], help="lengths of long recordings")
    add("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine("cpu", 1)
    recognizer = Recognizer.load(arguments.checkpoint)
    rows = _rows(arguments.manifest, recognizer.sample_rate)
    labels = arguments.manifest.with_suffix(f".{recognizer.labels}").read_text("utf-8").splitlines()
    rate = recognizer.sample_rate
    chosen = _first(rows, arguments.seconds * rate)
    with tempfile.TemporaryDirectory() as made, torch.no_grad():
        forms = _forms(recognizer, arguments.checkpoint, Path(made))
        result = {
            "command": " ".join(sys.argv),
            "machine": machine,
            "speed": _speed(recognizer, forms, chosen, arguments.rounds),
            "bf16": "measured" if "bf16" in forms else "not measured: the processor has none",
            "long": [
                _long(
                    recognizer,
                    arguments.checkpoint,
                    _first(rows, 60 * minutes * rate),
                    labels,
                    Path(made) / "long.wav",
                )
                for minutes in arguments.minutes
            ],
        }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def _rows(manifest: Path, rate: int) -> list[Tensor]:
    found = read_manifest(manifest)
    entries = [found.entry(number) for number in range(len(found))]
    return as_rows(entries, rate, torch.device("cpu"))


def _first(rows: list[Tensor], samples: float) -> list[Tensor]:
    """The first recordings that have so many samples together, the last one whole."""
    chosen: list[Tensor] = []
    while sum(map(len, chosen)) < samples and len(chosen) < len(rows):
        chosen.append(rows[len(chosen)])
    return chosen


def _forms(recognizer: Recognizer, checkpoint: str, folder: Path) -> dict[str, Form]:
    """The model in each form that this processor runs."""
    import onnxruntime  # here, since the process that measures memory does not need it

    def fp32(row: Tensor) -> Tensor:
        return _heard(recognizer, row)

    def bf16(row: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return fp32(row)

    def onnx(name: str) -> Form:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "onnx" / name, options)

        def run(row: Tensor) -> Tensor:
            mask = torch.zeros(1, len(row), dtype=torch.bool)
            given = {"waveform": row[None].numpy(), "padding_mask": mask.numpy()}
            return torch.from_numpy(session.run(["logits"], given)[0][0])

        return run

    export(checkpoint, "onnx", folder / "onnx")
    forms = {"fp32": fp32, "onnx fp32": onnx("model.onnx"), "onnx int8": onnx("model.int8.onnx")}
    if bf16_instructions():
        forms["bf16"] = bf16
    return forms


def _heard(recognizer: Recognizer, row: Tensor) -> Tensor:
    """(S,) -> (T, V), in one piece however long it is."""
    frames = recognizer.frames
    states, _ = frames.encode_rows([unit_variance(row) if frames.normalize else row])
    return states[0][0]


def _text(recognizer: Recognizer, scores: Tensor) -> str:
    symbols = recognizer.greedy.decode([scores])[0].symbols
    return join_symbols(" ".join(recognizer.spell(symbols)), recognizer.post_process)


def _speed(
    recognizer: Recognizer, forms: dict[str, Form], rows: list[Tensor], rounds: int
) -> dict[str, Any]:
    """Processor seconds per second of audio, and words as in fp32; one more round warms up."""
    audio = sum(map(len, rows)) / recognizer.sample_rate
    costs: dict[str, list[float]] = {name: [] for name in forms}
    texts: dict[str, list[str]] = {}
    order = list(forms)
    for number in range(rounds + 1):
        for name in order:
            began = time.process_time()
            texts[name] = [_text(recognizer, forms[name](row)) for row in rows]
            costs[name].append((time.process_time() - began) / audio)
        order = order[1:] + order[:1]
        progress(f"round {number} of {rounds}")
    wanted = " ".join(texts["fp32"])
    return {
        "recordings": len(rows),
        "audio_seconds": audio,
        "forms": {
            name: {
                "cpu_s_per_audio_s": statistics.median(cost[1:]),
                "range": [min(cost[1:]), max(cost[1:])],
                "of_fp32": statistics.median(
                    one / base for one, base in zip(cost[1:], costs["fp32"][1:], strict=True)
                ),
                **_alike(wanted, " ".join(texts[name])),
            }
            for name, cost in costs.items()
        },
    }


def _alike(wanted: str, found: str) -> dict[str, int]:
    """How many words there are, and how many of them are in both, in order."""
    before, after = wanted.split(), found.split()
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return {"words": len(before), "same_words": sum(block.size for block in blocks)}


def _long(
    recognizer: Recognizer, checkpoint: str, rows: list[Tensor], labels: list[str], path: Path
) -> dict[str, Any]:
    """Transcribe recordings joined by the command, the same in one piece, and each alone."""
    joined = torch.cat(rows)
    minutes = len(joined) / recognizer.sample_rate / 60
    soundfile.write(path, joined.numpy(), recognizer.sample_rate, subtype="FLOAT")
    command = [sys.executable, __file__, MEMORY, checkpoint, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mgf transcribe failed:\n{done.stderr[-2000:]}")
    given, cost = done.stdout.rsplit("\n", 2)[:2]
    progress(f"{minutes:.1f} minutes by mgf transcribe")
    whole = _text(recognizer, _heard(recognizer, joined))
    progress(f"{minutes:.1f} minutes in one piece")
    alone = " ".join(_text(recognizer, _heard(recognizer, row)) for row in rows)
    said = " ".join(join_symbols(line, recognizer.post_process) for line in labels[: len(rows)])
    texts = {"pieces": given, "one piece": whole, "each recording alone": alone}
    errors = {name: count_edits(said.split(), text.split()).total for name, text in texts.items()}
    return {
        "minutes": minutes,
        **json.loads(cost),
        "as_in_one_piece": given == whole,
        **_alike(whole, given),
        "wer": {name: 100 * count / len(said.split()) for name, count in errors.items()},
    }


def _memory_of(checkpoint: str, path: str) -> int:
    """Run `mgf transcribe`; print its text, then the largest size of the process and its time."""
    code = mgf(["transcribe", checkpoint, path, "--txt", "--device", "cpu"])
    peak = {"peak_mib": status_mib("VmHWM"), "cpu_s": time.process_time()}
    print(json.dumps(peak), flush=True)
    return code


if __name__ == "__main__":
    main()
