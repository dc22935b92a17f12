"""Which pictures the report holds: from rows and results to the drawing functions.

Between the table and the page; each function returns pictures for one section.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...evaluation.result_files import read_embeddings
from ...evaluation.results import (
    CHOSEN_PER_FOLD,
    DECODED,
    INFILLING,
    ORIGINAL,
    ProbedResult,
    TaskResult,
)
from ...extract.infilled import read_infilling
from ...monitoring.training_log import JSONL_NAME, read_jsonl
from ..cells import Column
from ..collect import Member, Result, Row
from ..table import Table
from ..wording import items_of, task_name
from .arpabet import are_arpabet
from .confusion import draw_confusion, sentence, top_confusions
from .curves import PROGRESS, Run, draw_panel, loss_panels
from .infilling import draw_infilling
from .layers import LayerScores, draw_layers, draw_weights
from .ranking import Bar, draw_ranking
from .reconstruction import Clip, draw_reconstruction, read_clip
from .scatter import draw_scatter, lay_out
from .theme import Picture

_FEATURES = "features"  # the one "layer" of fbank and mfcc


@dataclass(frozen=True)
class Curves:
    """Progress per scale, and the losses themselves."""

    progress: list[Picture]
    losses: list[Picture]


@dataclass(frozen=True)
class Sound:
    """An utterance and what the decoder made of it."""

    picture: Picture
    original: Clip
    decoded: Clip


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix and its worst entries in words."""

    picture: Picture
    sentences: list[str]


def rankings(table: Table) -> list[Picture]:
    """Draw the overview of each task's leading metric."""
    pictures = []
    for column in (column for column in table.columns if column.leading):
        bars = [
            Bar(
                label=row.label,
                mean=cell.mean,
                low=cell.mean if cell.low is None else cell.low,
                high=cell.mean if cell.high is None else cell.high,
                single=tuple(cell.single.values()),
                baseline=row.is_baseline,
            )
            for row in table.rows
            if (cell := table.cells.get((row.label, column)))
        ]
        if len(bars) < 2:
            continue  # nothing to compare: the table has the number
        unit = column.info.on_test
        lower = column.info.lower_is_better
        title = column.heading
        pictures.append(draw_ranking(title, unit, bars, column.chance, lower))
    return pictures


def layer_maps(table: Table, column: Column) -> list[Picture]:
    """Draw the heat map(s) of a task, one per pooling, and the weights of the weighted sum."""
    by_row = {
        row.label: [r for r in _results(table, row, column) if isinstance(r, ProbedResult)]
        for row in table.rows
    }
    poolings = dict.fromkeys(
        rep.pooling
        for results in by_row.values()
        for r in results
        for rep in r.representations
        if rep.layer != CHOSEN_PER_FOLD
    )
    pictures = []
    for pooling in poolings:
        rows = [
            _layer_scores(label, results, column.metric, pooling)
            for label, results in by_row.items()
        ]
        title = f"{column.heading} by layer" + (f", pooled by {pooling}" if pooling else "")
        rows = [row for row in rows if row.scores]
        if len(rows) > 1 and any(len(row.scores) > 1 for row in rows):
            pictures.append(draw_layers(title, column.info.on_test, rows))
    weights = [_weights(row, by_row[row.label]) for row in table.rows]
    weights = [row for row in weights if row.scores]
    if len(weights) > 1:
        title = f"{column.heading}: which layers the weighted sum uses"
        pictures.append(draw_weights(title, weights))
    return pictures


def layer_means(result: ProbedResult, metric: str, pooling: str | None) -> dict[str, float]:
    """Return layer -> mean over seeds on test; the one layer of plain features is `features`."""
    found = [r for r in result.representations if r.layer != CHOSEN_PER_FOLD]
    layers = {r.layer for r in found}
    return {
        _FEATURES if len(layers) == 1 else r.layer: statistics.fmean(r.test[metric])
        for r in found
        if r.pooling == pooling and r.test.get(metric)
    }


def _layer_scores(
    label: str, results: Sequence[ProbedResult], metric: str, pooling: str | None
) -> LayerScores:
    """Average the members of a row layer by layer."""
    means = [layer_means(result, metric, pooling) for result in results]
    names = dict.fromkeys(name for found in means for name in found)
    chosen = {
        _FEATURES if _FEATURES in names else r.representations[r.chosen].layer
        for r in results
        if r.representations[r.chosen].pooling == pooling
    }
    return LayerScores(
        label,
        {name: statistics.fmean(m[name] for m in means if name in m) for name in names},
        chosen.pop() if len(chosen) == 1 else "",
    )


def _weights(row: Row, results: Sequence[ProbedResult]) -> LayerScores:
    """Average the weights over the members, as shares of their sum in percent."""
    given = [np.asarray(r.layer_weights) for r in results if r.layer_weights]
    if not given:
        return LayerScores(row.label, {})
    mean = np.mean([100 * weights / weights.sum() for weights in given], axis=0)
    names = row.members[0].upstream.layer_names
    return LayerScores(row.label, dict(zip(names, mean.tolist(), strict=True)))


def training_curves(rows: Sequence[Row]) -> Curves:
    """Draw what the pre-trainings logged."""
    runs = []
    for row in rows:
        for member in row.members:
            path = member.file(JSONL_NAME)
            if path:
                kinds = (read_jsonl(path, kind) for kind in ("train_inner", "valid"))
                runs.append(Run(row.label, *kinds))
    progress = [draw_panel(panel, runs) for panel in PROGRESS]
    losses = [draw_panel(panel, runs) for panel in loss_panels(runs)]
    return Curves([p for p in progress if p], [p for p in losses if p])


def embedding_pictures(row: Row) -> list[Picture]:
    """Draw the utterances of the row's first member, by speaker and by emotion."""
    member = row.members[0]
    who = _who(row, member)
    pictures = []
    if path := member.file("speaker.npz"):
        found = read_embeddings(path)
        layout = lay_out(found.vectors)
        pictures.append(draw_scatter(f"{who}: utterances by speaker", layout, found.labels))
    if path := member.file("emotion.npz"):
        found = read_embeddings(path)
        layout = lay_out(found.vectors)
        pictures.append(draw_scatter(f"{who}: utterances by emotion", layout, found.labels))
        title = f"{who}: the same utterances by speaker"
        pictures.append(draw_scatter(title, layout, found.speakers))
    return pictures


def confusion_of(table: Table, row: Row, column: Column) -> Confusion | None:
    """Draw what a row mistakes for what, its members' counts added."""
    results = [r for r in _results(table, row, column) if isinstance(r, TaskResult)]
    if not results:
        return None
    classes = results[0].data.classes
    counts = np.sum([np.array(r.confusion, dtype=np.int64) for r in results], axis=0)
    title = f"{row.label}: {task_name(column.task)}"
    items = items_of(column.task)
    arpabet = column.task == "phone" and are_arpabet(classes)
    sentences = [sentence(c, items, arpabet) for c in top_confusions(classes, counts)]
    return Confusion(draw_confusion(title, classes, counts, items, arpabet), sentences)


def infilling_of(row: Row) -> Picture | None:
    """Draw the masked utterance of the row's first member that has one."""
    for member in row.members:
        if path := member.file(INFILLING):
            return draw_infilling(_who(row, member), read_infilling(path))
    return None


def sound_of(row: Row) -> Sound | None:
    """Draw and hand over the reconstruction of the row's first member that has one."""
    for member in row.members:
        if files := sound_files(member):
            clips = read_clip(files[0]), read_clip(files[1])
            return Sound(draw_reconstruction(_who(row, member), *clips), *clips)
    return None


def sound_files(member: Member) -> tuple[Path, Path] | None:
    """The original and its reconstruction, where a member has both."""
    original, decoded = member.file(ORIGINAL), member.file(DECODED)
    return (original, decoded) if original and decoded else None


def _who(row: Row, member: Member) -> str:
    """Name the member where the row has several."""
    return row.label if len(row.members) == 1 else f"{row.label} ({member.upstream.name})"


def _results(table: Table, row: Row, column: Column) -> list[Result]:
    return table.results.get((row.label, column.task, column.variant), [])
