"""The table of one task on one representation: every layer, and which one was chosen.

Printed by `mgf evaluate` where there is one of both.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.results import ProbedResult, Representation


def layer_table(result: ProbedResult, name: str) -> str:
    """Layers by metrics: mean and deviation over seeds, the chosen one marked.

    In percent, but for the gain in SI-SDR, which is in dB.
    """
    metrics = list(result.chance)
    sizes = ", ".join(
        f"{split} {size.items} of {size.utterances} utterances"
        for split, size in (("train", result.data.train), ("test", result.data.test))
    )
    classes = f"{len(result.data.classes)} classes; " if result.data.classes else ""
    lines = [
        f"{result.task}: {name} on {result.data.folder}; {result.protocol['probe']}, "
        f"{len(result.seeds)} seed(s)",
        f"{classes}{sizes}",
        result.protocol["splits"],
    ]
    names = [result.without_features, *(item.name for item in result.representations)]
    width = max(map(len, names)) + 2
    heads = [f"{'valid ' + metrics[0]:>20}", *(f"{'test ' + metric:>22}" for metric in metrics)]
    lines += ["", " " * width + "".join(heads)]
    for number, item in enumerate(result.representations):
        mark = "  <- chosen" if number == result.chosen else ""
        lines.append(f"{item.name:<{width}}{_cells(item, metrics)}{mark}")
    chance = "".join(f"{result.chance[metric]:>14.1f}        " for metric in metrics)
    lines.append(f"{result.without_features:<{width}}{'':20}{chance}".rstrip())
    lines += [
        "",
        f"{result.metric} of the chosen one: 95 % {result.low:.1f} to {result.high:.1f} "
        f"over {result.interval_over}",
    ]
    lines += [f"note: {result.data.note}"] if result.data.note else []
    lines += [f"note: {result.overlap.words}"] if result.overlap else []
    return "\n".join(lines)


def _cells(item: Representation, metrics: list[str]) -> str:
    def cell(values: list[float]) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.mean(values):.1f} +- {spread:.1f}"

    test = "".join(f"{cell(item.test[metric]):>22}" for metric in metrics)
    return f"{cell(item.valid[metrics[0]]):>20}{test}"
