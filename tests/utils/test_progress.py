"""Bars in the log of a batch job: a line a minute instead of thousands of redrawings."""

from __future__ import annotations

import time

import pytest

from mgf_fairseq.utils import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed; a test moves them."""
    passed = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    return passed


def run(clock: list[float], steps: int, **options: object) -> None:
    with progress.bar(total=steps, desc="work", **options) as bar:
        for step in range(steps):
            clock[0] += 1.0
            bar.set_postfix_str(f"loss {step}", refresh=True)
            bar.update()


def test_a_log_gets_a_line_a_minute_and_the_end(clock, monkeypatch, capsys):
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    run(clock, 150)
    lines = capsys.readouterr().err.split("\n")
    # At the beginning, after 60 and 120 seconds, at the end; and what follows the last newline.
    assert len(lines) == 5 and lines[-1] == ""
    assert "0/150" in lines[0] and "150/150" in lines[3]
    assert all("\r" not in line and line.startswith("work") for line in lines[:-1])


def test_two_bars_in_a_log_have_whole_lines_without_moves_of_the_cursor(clock, capsys):
    with progress.bar(total=2, desc="one") as one, progress.bar(total=2, desc="two") as two:
        for bar in (one, two):
            clock[0] += 61.0
            bar.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3 and all(line.startswith(("one: ", "two: ")) for line in lines)


def test_a_bar_that_would_vanish_says_nothing_within_its_first_minute(clock, capsys):
    run(clock, 50, leave=False)
    assert capsys.readouterr().err == ""
    run(clock, 70, leave=False)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_a_bar_that_is_redrawn(clock, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run(clock, 5)
    assert capsys.readouterr().err.count("\r") >= 5
