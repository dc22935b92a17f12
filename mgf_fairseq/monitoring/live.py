"""Watches a training from inside fairseq: measures the wait for data, judges, and says so.

On the border: takes the numbers that fairseq is about to log and hands them to health.py; the first
rank alone speaks.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fairseq.logging import metrics

from ..utils.distributed import is_first_rank
from .health import HealthMonitor
from .training_log import read_log

logger = logging.getLogger(__name__)


class LiveHealth:
    """Feeds a HealthMonitor with every entry of the log and speaks when a verdict changes."""

    def __init__(self, log_interval: int) -> None:
        self.log_interval = max(log_interval, 1)
        self.monitor = HealthMonitor()
        self._told: set[tuple[str, str]] = set()
        self._begun = False

    def observe(self) -> None:
        """Take the numbers of an update, if fairseq will log them after this one."""
        meters = metrics.get_meters("train_inner")
        if meters is None or not is_first_rank():
            return
        counter = meters.get("num_updates")
        # Meters that were reset, as between two trainings of a process, hold None.
        update = 0 if counter is None else int(counter.val or 0)
        if update == 0 or update % self.log_interval:
            return
        entry = _as_logged(meters.get_smoothed_values())
        if not self._begun:
            self._begun = True
            self._recall(update)
        if self.monitor.add(entry):
            self._speak(update)

    def _recall(self, update: int) -> None:
        """Read what a run that is resumed logged before, from the file our own lines go to."""
        files = [h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
        for handler in files if update > self.log_interval else []:
            handler.flush()
            entries = read_log_until(handler.baseFilename, update)
            for entry in entries:
                self.monitor.add(entry)
            if entries:
                break
        self._told = {verdict.key for verdict in self.monitor.verdicts()}

    def _speak(self, update: int) -> None:
        standing = {verdict.key: verdict for verdict in self.monitor.verdicts()}
        for key, verdict in standing.items():
            if key not in self._told:
                logger.warning("update %d: %s", update, verdict)
        self._told = set(standing)

    def summarize(self) -> None:
        """Say in one line, at validation, how things are."""
        if not self.monitor.windows or not is_first_rank():
            return
        update, verdicts = self.monitor.windows[-1].update, self.monitor.verdicts()
        if not verdicts:
            logger.info("healthy at update %d", update)
            return
        words = ", ".join(f"{verdict.kind} ({verdict.subject})" for verdict in verdicts)
        logger.warning(
            "not healthy at update %d: %s; warnings above and 'mgf health' say what to do",
            update,
            words,
        )


def read_log_until(path: str, update: int) -> list[dict[str, float]]:
    """Read the entries of a log before an update, or nothing where there is no such log."""
    try:
        entries = read_log(Path(path), "train_inner")
    except FileNotFoundError:
        return []
    return [entry for entry in entries if entry.get("num_updates", 0) < update]


def _as_logged(values: dict[str, Any]) -> dict[str, float]:
    """Round as fairseq's format_stat does, so that the log gives the same verdicts later."""
    entry = {}
    for name, value in values.items():
        try:
            entry[name] = float(f"{float(value):g}")
        except (TypeError, ValueError):
            continue
    return entry
