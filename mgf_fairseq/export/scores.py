"""Scores for a model card, from the files of `mgf evaluate` and `mgf score`, with their commands.

Under card.py and the cards of releases; needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Score:
    """One number, and the command that gave it."""

    task: str
    value: str
    command: str


class ScoreError(ValueError):
    """A result file that cannot be read."""


def read_scores(paths: Iterable[Path]) -> list[Score]:
    """Read folders of `mgf evaluate` and JSON files of `mgf score`.

    Raises:
        ScoreError: one is neither.
    """
    return [score for path in paths for score in _scores(path)]


def _scores(path: Path) -> list[Score]:
    if path.is_dir():
        from ..evaluation.result_files import read_results

        results = read_results(path)
        found = [
            Score(
                f"{name}, {task.representations[task.chosen].name}",
                f"{task.metric} {_mean(task.representations[task.chosen].test[task.metric])} "
                f"{task.unit} ({task.low:.1f} to {task.high:.1f})",
                task.command,
            )
            for name, task in results.tasks.items()
        ]
        asr = results.recognition
        if asr is not None:
            value = ", ".join(f"{name} {_mean(asr.test[name])} %" for name in ("wer", "cer"))
            found.append(Score("recognition after fine-tuning", value, asr.command))
        return found
    try:
        corpus = json.loads(path.read_text(encoding="utf-8"))["corpus"]
        value = (
            f"WER {corpus['wer']:.2f} % ({corpus['wer_low']:.2f} to {corpus['wer_high']:.2f}), "
            f"CER {corpus['cer']:.2f} %, {corpus['utterances']} utterances"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScoreError(
            f"--results {path}: neither a folder of mgf evaluate nor a JSON file of mgf score "
            f"({error})"
        ) from None
    return [Score("recognition", value, f"mgf score, {path.name}")]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1f}"
