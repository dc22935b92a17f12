"""Where MGF's step spends its time, part by part, forward and backward.

`pretraining.py` calls `profile_parts`: each part is marked with a profiler range, and each backward
function is charged to the range in which its forward operation ran.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from setting import System
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

MARK = "part: "
REST = "rest"  # criterion, logging, and what no range covers
STEPS = 3


def profile_parts(system: System) -> dict[str, dict[str, float]]:
    """Profile a few steps: part -> share of the step, forward and backward."""
    mark_parts(system)
    cuda = system.setting.device == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    system.step(0)
    with profile(activities=activities) as profiler:
        for number in range(1, 1 + STEPS):
            with record_function(MARK + REST):
                system.step(number)
    return _shares(list(profiler.events()), "device_time_total" if cuda else "cpu_time_total")


def mark_parts(system: System) -> None:
    """Wrap the model's parts, the objectives and the update in profiler ranges."""
    model: Any = system.model
    _mark(model.feature_extractor, "forward", "conv stack")
    _mark(model.encoder, "forward", "Transformer")
    for name, objective in model.objectives.items():
        _mark(objective, "forward", f"{name}: heads and loss")
        if getattr(objective, "features", None) is not None:
            _mark(objective.features, "forward", f"{name}: acoustic features")
    _mark(system.optimizer, "step", "optimizer")


def _mark(owner: Any, method: str, name: str) -> None:
    inner: Callable[..., Any] = getattr(owner, method)

    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + name):
            return inner(*args, **kwargs)

    if isinstance(owner, nn.Module):
        object.__setattr__(owner, method, marked)
    else:
        setattr(owner, method, marked)


def _shares(events: list[Any], attribute: str) -> dict[str, dict[str, float]]:
    """Sum each part's own time; nested ranges count for the inner one only."""
    ranges = [event for event in events if event.name.startswith(MARK)]
    ranges = [event for event in ranges if str(event.device_type).endswith("CPU")]
    backward = [event for event in events if _is_backward(event)]
    sums: dict[str, dict[str, float]] = defaultdict(lambda: {"forward": 0.0, "backward": 0.0})
    for event in ranges:
        time = getattr(event, attribute)
        sums[event.name.removeprefix(MARK)]["forward"] += time
        outer = _innermost(ranges, event.time_range.start, event)
        if outer is not None:
            sums[outer]["forward"] -= time
    part_of = _parts_of_nodes(events, ranges, backward)
    for event in backward:
        time = getattr(event, attribute)
        sums[part_of.get(event.sequence_nr, REST)]["backward"] += time
        # On the CPU the backward pass runs in the calling thread, inside the outer range.
        if event.thread == ranges[0].thread:
            sums[REST]["forward"] -= time
    total = sum(row["forward"] + row["backward"] for row in sums.values())
    order = sorted(sums, key=lambda part: -sum(sums[part].values()))
    return {part: {key: sums[part][key] / total for key in sums[part]} for part in order}


def _parts_of_nodes(events: list[Any], ranges: list[Any], backward: list[Any]) -> dict[int, str]:
    """Say in which part each autograd node was made: sequence number -> part.

    An operation carries the number of the node that comes next, so a node was made by the last
    forward operation with its number.
    """
    spans = sorted((event.time_range.start, event.time_range.end) for event in backward)
    starts = [start for start, _ in spans]

    def in_backward(moment: float) -> bool:
        index = bisect_right(starts, moment) - 1
        return index >= 0 and moment < spans[index][1]

    part_of: dict[int, str] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        moment = event.time_range.start
        if event.sequence_nr < 0 or event.thread != ranges[0].thread or in_backward(moment):
            continue
        part_of[event.sequence_nr] = _innermost(ranges, moment) or REST
    return part_of


def _is_backward(event: Any) -> bool:
    return str(event.name).startswith("autograd::engine::evaluate_function")


def _innermost(ranges: list[Any], moment: float, inside: Any = None) -> str | None:
    """Name the shortest range around a moment (other than ``inside`` itself)."""
    around = [
        event
        for event in ranges
        if event is not inside and event.time_range.start <= moment < event.time_range.end
    ]
    if not around:
        return None
    name: str = min(around, key=lambda event: event.time_range.elapsed_us()).name
    return name.removeprefix(MARK)
