"""Sentences that a reader needs beside the numbers: what each row is, caveats, the best layer.

Between the table and both the page and the Markdown.
"""

from __future__ import annotations

from ..evaluation.results import WEIGHTED_SUM, ProbedResult
from .cells import Column
from .collect import Row
from .figures.select import layer_means
from .table import Table
from .wording import task_name

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_KINDS = {
    "random": "the same network with random weights: what its shape gives without any training",
    "fbank": "log-mel energies, computed and not learned: what the signal itself shows",
    "mfcc": "cepstral coefficients, computed and not learned: what the signal itself shows",
    "wav2vec2": "wav2vec 2.0: masked contrastive pre-training alone",
    "hubert": "HuBERT: pre-training on masked cluster labels",
    "apc": "APC: recurrent layers that predict log-mel frames ahead",
}
_ALL = ("sample", "frame", "phoneme", "utterance")

POINTS_BELOW = 1.0  # of the highest layer; pre-training seeds differ by as much


def usual_title(table: Table) -> str:
    """Name the page by the tasks that are there."""
    tasks = table.tasks
    if len(tasks) == 1:
        return f"Speech representations by {task_name(tasks[0])}"
    count = _NUMBERS[len(tasks)] if len(tasks) < len(_NUMBERS) else str(len(tasks))
    return f"Speech representations on {count} tasks" if tasks else "Speech representations"


def what_it_is(row: Row) -> str:
    """Say in one sentence what a row is."""
    upstream = row.members[0].upstream
    if row.is_baseline:
        text = _KINDS.get(row.kind, f"a representation of kind {row.kind}")
    else:
        text = f"MGF{_objectives(upstream.config.get('objectives'))}"
    if row.audio:
        text += f", pre-trained on {row.audio_in_words} of audio"
    if len(row.members) > 1:
        text += f", the mean of {len(row.members)} pre-trainings that differ by seed"
    return f"{text}."


def _objectives(found: object) -> str:
    names = [str(name) for name in found] if isinstance(found, (list, dict)) else []
    if not names:
        return ""
    if set(names) == set(_ALL):
        return " with all four scales"
    if len(names) == 1:
        return f" with the {names[0]} scale alone"
    return f" with the scales {', '.join(names[:-1])} and {names[-1]}"


def caveats(table: Table) -> list[str]:
    """List what the results say of their data, each sentence once, with its tasks."""
    found: dict[str, dict[str, None]] = {}
    for column in (column for column in table.columns if column.leading):
        for (_, task, variant), results in table.results.items():
            if (task, variant) == (column.task, column.variant):
                for note in (part for r in results for part in r.data.note.split("; ") if part):
                    found.setdefault(note, {})[task_name(task)] = None
    everything = len(table.tasks)
    return [
        note if len(tasks) == everything else f"{note} ({', '.join(tasks)})"
        for note, tasks in found.items()
    ]


def why_not_the_top(table: Table, column: Column) -> str:
    """One sentence where a lower layer of an MGF row is clearly ahead of the top; else nothing."""
    lower = []
    for row in (row for row in table.rows if not row.is_baseline):
        results = table.results.get((row.label, column.task, column.variant), [])
        layers = row.members[0].upstream.layer_names
        probed = [result for result in results if isinstance(result, ProbedResult)]
        found = [_by_layer(result, column.metric, layers) for result in probed]
        leads = [max(means.values()) - means[layers[-1]] for means in found if layers[-1] in means]
        if leads and min(leads) > POINTS_BELOW:
            lower.append(row.label)
    if not lower:
        return ""
    unit = "point" if column.info.unit == "%" else column.info.unit
    return (
        f"A lower layer is ahead of the highest by more than {POINTS_BELOW:g} {unit} for "
        f"{', '.join(lower)}: the last layers specialize in what pre-training predicts. "
        f"Take the layer that a task's valid split chooses, or the {WEIGHTED_SUM}."
    )


def _by_layer(result: ProbedResult, metric: str, layers: list[str]) -> dict[str, float]:
    """Layer -> the better of its poolings."""
    best: dict[str, float] = {}
    for pooling in dict.fromkeys(r.pooling for r in result.representations):
        for name, mean in layer_means(result, metric, pooling).items():
            if name in layers:
                best[name] = max(mean, best.get(name, mean))
    return best
