"""The page: sections in reading order, put together from tables, pictures and protocols.

Last step of the report before the file; every section says how to read what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...evaluation.results import INFILLING, ProbedResult, RecognitionResult, TaskResult
from ...monitoring.training_log import JSONL_NAME
from .. import protocol
from ..cells import Column
from ..collect import Result, Row
from ..describing import what_it_is, why_not_the_top
from ..figures import select
from ..findings import findings
from ..table import Table
from ..wording import task_name
from .html import Html, bullets, element, fold, gallery, join, pairs, picture, table
from .scores_table import reading_help, scores_table
from .style import CSS

Progress = Callable[[str], None]


def make_page(shown: Table, title: str, say: Progress) -> Html:
    """Make the whole page; `say` gets the name of each section."""
    sections: list[tuple[str, str, Callable[[Table], Sequence[str]]]] = [
        ("scores", "Scores", _scores),
        ("layers", "Layer by layer", _layers),
        ("training", "Training curves", _training),
        ("embeddings", "Utterance embeddings", _embeddings),
        ("confusions", "What is mistaken for what", _confusions),
        ("sound", "Reconstruction", _rebuilt),
        ("transcripts", "Transcripts", _transcripts),
        ("protocol", "How it was measured", _protocol),
        ("missing", "What is missing", _missing),
    ]
    made = []
    for name, heading, content in sections:
        say(heading.lower())
        made.append(element("section", element("h2", heading), *content(shown), id=name))
    links = element("nav", *(element("a", h, href=f"#{name}") for name, h, _ in sections))
    body = element("body", _opening(shown, title), links, *made)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(CSS)),
    )
    return join([Html("<!doctype html>\n"), element("html", head, body, lang="en"), Html("\n")])


def _opening(shown: Table, title: str) -> Html:
    results = [r for row in shown.rows for m in row.members for r in m.results]
    dates = sorted(result.date[:10] for result in results) or ["no results"]
    named = (result.commit.replace("trained at ", "").split(", ") for result in results)
    commits = sorted({commit[:20] for several in named for commit in several})
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    code = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
    told = f"{len(shown.rows)} representations, measured {when}, {code}."
    warnings = [element("div", note, class_="warning", role="note") for note in shown.notes]
    return element(
        "header",
        element("h1", title),
        element("p", told, class_="muted"),
        *warnings,
        bullets(findings(shown)),
    )


def _scores(shown: Table) -> list[str]:
    rows = pairs((row.label, what_it_is(row)) for row in shown.rows)
    return [scores_table(shown), rows, reading_help(shown), gallery(select.rankings(shown))]


def _probed(shown: Table, kind: type[ProbedResult] = ProbedResult) -> Iterator[Column]:
    """List the leading columns of the tasks that have results of a kind."""
    for column in shown.columns:
        results = (rs for (_, t, v), rs in shown.results.items()
                   if (t, v) == (column.task, column.variant))  # fmt: skip
        if column.leading and any(isinstance(r, kind) for rs in results for r in rs):
            yield column


def _layers(shown: Table) -> list[str]:
    made: list[str] = [
        element(
            "p",
            "Which layer serves which task: a probe per layer, and one on a learned weighted sum.",
        )
    ]
    for column in _probed(shown):
        maps = select.layer_maps(shown, column)
        made.append(element("h3", column.heading))
        made.append(
            gallery(maps) if maps else _absent("One row, or one layer per row: nothing to compare.")
        )
        if why := why_not_the_top(shown, column):
            made.append(element("p", why))
    return made if len(made) > 1 else [_absent("No task was probed.")]


def _training(shown: Table) -> list[str]:
    curves = select.training_curves(shown.rows)
    without = [r.label for r in shown.rows if not any(m.file(JSONL_NAME) for m in r.members)]
    if not curves.losses:
        return [_absent("No training log beside any of these results.")]
    made: list[str] = [
        gallery(curves.progress),
        fold("The losses themselves", gallery(curves.losses)),
    ]
    if without:
        made.append(_absent(f"No training log: {', '.join(without)}."))
    return made


def _embeddings(shown: Table) -> list[str]:
    intro = element(
        "p",
        "Each dot is one held-out utterance, as the mean over its frames (speakers: over its "
        "segments). Clouds of one color mean that the representation separates them; only "
        "neighborhood has a meaning, not the axes of t-SNE. Of a row with several pre-training "
        "seeds, the first is shown.",
    )
    return [intro, *_per_row(shown, _first(shown, "emotion"), _row_embeddings, "embeddings")]


def _row_embeddings(shown: Table, row: Row) -> list[str]:
    found = select.embedding_pictures(row)
    return [gallery(found)] if found else []


def _confusions(shown: Table) -> list[str]:
    made: list[str] = []
    for column in _probed(shown, TaskResult):

        def content(shown: Table, row: Row, column: Column = column) -> list[str]:
            return _row_confusion(shown, row, column)

        made.append(element("h3", column.heading))
        made += _per_row(shown, _first(shown, column.task), content, column.task_title)
    return made or [_absent("No task was probed.")]


def _row_confusion(shown: Table, row: Row, column: Column) -> list[str]:
    found = select.confusion_of(shown, row, column)
    if found is None:
        return []
    result = shown.results[row.label, column.task, column.variant][0]
    words = [
        element(
            "p",
            "Most frequent mistakes over all seeds (capitals show the sound of a phone):"
            if column.task == "phone"
            else "Most frequent mistakes over all seeds:",
        ),
        bullets(found.sentences),
    ]
    return [picture(found.picture), *(words if found.sentences else []), _classes(result)]


def _classes(result: Result) -> Html:
    """Make the table of class scores of one member."""
    if not isinstance(result, TaskResult) or not result.per_class:
        return Html("")
    rows = [
        (s.label, f"{s.precision:.1f}", f"{s.recall:.1f}", f"{s.f1:.1f}", f"{s.count:,}")
        for s in sorted(result.per_class, key=lambda s: -s.count)
    ]
    return fold(
        "Scores per class",
        table(("class", "precision, %", "recall, %", "F1, %", "items in test"), rows),
    )


def _rebuilt(shown: Table) -> Sequence[str]:
    """Show what the frame and the sample scale make of an utterance, for rows that have one."""
    heard = [r for r in shown.rows if any(select.sound_files(m) for m in r.members)]
    seen = [r for r in shown.rows if r in heard or any(m.file(INFILLING) for m in r.members)]
    if not seen:
        return [
            _absent("No reconstruction: it takes a checkpoint with the frame or the sample scale.")
        ]
    warning = "Turn the volume down first: what a young decoder makes can be harsh."
    intro = [element("p", warning)] if heard else []
    return [*intro, *_per_row(shown, seen[0].label, _row_rebuilt, "")]


def _row_rebuilt(shown: Table, row: Row) -> list[str]:
    infilling = select.infilling_of(row)
    return [*([picture(infilling)] if infilling else []), *_row_sound(row)]


def _row_sound(row: Row) -> list[str]:
    found = select.sound_of(row)
    if found is None:
        return []
    players = [
        element(
            "figure",
            element("figcaption", name),
            element("audio", controls="", preload="metadata", src=clip.data_uri()),
        )
        for name, clip in (("original", found.original), ("reconstruction", found.decoded))
    ]
    return [element("div", *players, class_="sounds"), picture(found.picture)]


def _transcripts(shown: Table) -> list[str]:
    made: list[str] = []
    best = _first(shown, "asr")
    for row in shown.rows:
        for member in row.members:
            for result in member.results:
                if isinstance(result, RecognitionResult) and result.examples:
                    rows = [(e.reference, e.hypothesis or "(nothing)") for e in result.examples]
                    opened = row.label == best and member is row.members[0]
                    inside = table(("said", "recognized"), rows)
                    made.append(fold(member.upstream.name, inside, opened=opened))
    return made or [_absent("No speech recognition among these results.")]


def _protocol(shown: Table) -> list[str]:
    made: list[str] = []
    for task in shown.tasks:
        for column in shown.variants(task):
            first = next(rs[0] for (_, t, v), rs in shown.results.items()
                         if (t, v) == (task, column.variant))  # fmt: skip
            made += [
                element("h3", column.heading),
                element("p", protocol.words_of(task)),
                element("p", f"Data: {protocol.sizes(first)}."),
                pairs(protocol.told(first)),
                fold("Settings", pairs(protocol.settings(first))),
            ]
    made.append(element("h3", "Each row: origin, commands, seeds, hardware, time"))
    for row in shown.rows:
        parts: list[str] = []
        for member in row.members:
            if len(row.members) > 1:
                parts.append(element("h3", member.upstream.name))
            parts.append(pairs(protocol.training(member.upstream)))
            for result in member.results:
                parts.append(element("h3", task_name(result.task).capitalize()))
                parts.append(pairs(protocol.circumstances(member.upstream, result)))
        made.append(fold(row.label, *parts))
    return made


def _missing(shown: Table) -> Sequence[str]:
    return [bullets(shown.missing) if shown.missing else element("p", "Nothing.")]


def _first(shown: Table, task: str) -> str | None:
    """Name the row whose fold is open: the best of a task."""
    columns = shown.variants(task)
    best = (label for (label, c), cell in shown.cells.items() if c in columns and cell.best)
    return next(best, shown.rows[0].label)


def _per_row(
    shown: Table,
    opened: str | None,
    content: Callable[[Table, Row], Sequence[str]],
    what: str,
) -> list[str]:
    """Make a fold per row that has the content, the `opened` one first; name the rows without."""
    made: list[str] = []
    absent = []
    for row in sorted(shown.rows, key=lambda row: row.label != opened):
        inside = content(shown, row)
        if inside:
            made.append(fold(row.label, *inside, opened=row.label == opened))
        else:
            absent.append(row.label)
    if absent and what:
        made.append(_absent(f"No {what}: {', '.join(absent)}."))
    return made


def _absent(text: str) -> Html:
    return element("p", text, class_="muted")
