"""What a soak has seen, its verdict, and the table of it in Markdown and JSON.

The end of soak.py; all of it is plain data, so that the tests can hand it bad news.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from memory import Growth

KINDS = ("trainer", "workers")  # of processes whose memory is sampled
THEN = {True: "ends, and resumes", False: "continues", None: "continues, or ends and resumes"}


@dataclass
class Record:
    """One fault and what came of it."""

    fault: str
    detail: str
    at_s: float  # since the soak began
    ends: bool | None  # whether the training has to end by it; None: it may
    may_lose: int = 0
    last_update: int = 0  # that was logged before it ended, or before the fault
    resumed_from: int | None = None  # update that the next life has gone on from
    seconds: float | None = None  # from the fault to the first update after it
    said: str | None = None  # the message that reported it
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Updates that were logged and had to be done again."""
        return 0 if self.resumed_from is None else max(0, self.last_update - self.resumed_from)

    @property
    def survived(self) -> bool:
        return not self.problems

    def settle(self, resumed_from: int, seconds: float) -> None:
        """Note how it resumed, in the next life."""
        self.resumed_from, self.seconds = resumed_from, seconds
        if self.lost > self.may_lose:
            self.problems.append(f"{self.lost} updates lost, {self.may_lose} allowed")
        if resumed_from > self.last_update:
            self.problems.append(
                f"resumed from update {resumed_from}, but {self.last_update} was the last"
            )


@dataclass
class Outcome:
    """A whole soak."""

    minutes: float
    seed: int
    ranks: int
    workers: int
    save_every: int
    records: list[Record] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    updates: int = 0  # done, those done again included
    lives: int = 0  # starts of the command
    compared: int = 0  # updates done again, and so logged twice
    unequal: list[int] = field(default_factory=list)  # those of them with other numbers
    left_out: int = 0  # utterances that could not be read, each named in the log
    left_behind: list[str] = field(default_factory=list)  # half files at the end
    not_run: list[str] = field(default_factory=list)  # faults that this machine does not allow

    def problems(self) -> list[str]:
        """Everything that makes this a failed soak."""
        found = [
            f"{record.fault} at {record.at_s:.0f} s ({record.detail}): {problem}"
            for record in self.records
            for problem in record.problems
        ]
        if not self.records:
            found.append("no fault was injected: give it more --minutes")
        for growth in self.growths:
            if not growth.flat:
                found.append(
                    f"memory of {growth.kind} grew by {growth.grown_mb:.1f} MB in "
                    f"{growth.minutes:.0f} minutes, {growth.allowed_mb:.1f} allowed"
                )
        if self.unequal:
            found.append(f"done again with other numbers: updates {self.unequal[:10]}")
        if self.left_behind:
            found.append(f"half files left behind: {self.left_behind}")
        return found

    def not_judged(self) -> list[str]:
        """Processes whose memory was not seen often enough for a verdict."""
        return [kind for kind in KINDS if all(growth.kind != kind for growth in self.growths)]

    def as_json(self) -> dict[str, object]:
        records = [
            {**asdict(record), "lost": record.lost, "survived": record.survived}
            for record in self.records
        ]
        growths = [growth.as_json() for growth in self.growths]
        return {
            **asdict(self),
            "records": records,
            "growths": growths,
            "problems": self.problems(),
            "not_judged": self.not_judged(),
        }


def markdown(outcome: Outcome, about: Mapping[str, str]) -> str:
    """The table, what is beside it, and the verdict."""
    lines = [f"- {name}: {value}" for name, value in about.items()]
    lines += [
        "",
        "| fault | injected | survived | training then | updates lost, worst (allowed) | "
        "updates lost, sum | seconds to the next update, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(record.fault for record in outcome.records):
        lines.append(_row(name, [record for record in outcome.records if record.fault == name]))
    lines.append(_row("**all**", outcome.records))
    lines += ["", "| memory (longest life, settled) | minutes | from | to | per hour | flat |"]
    lines.append("|---|---|---|---|---|---|")
    for growth in outcome.growths:
        lines.append(
            f"| {growth.kind} | {growth.minutes:.0f} | {growth.first_mb:.0f} MB | "
            f"{growth.last_mb:.0f} MB | {growth.mb_per_hour:+.1f} MB | "
            f"{'yes' if growth.flat else 'NO'} (up to {growth.allowed_mb:.0f} MB allowed) |"
        )
    lines += [
        "",
        f"- {outcome.updates} updates in {outcome.lives} starts of the same command; "
        f"{outcome.compared} of them done again after a resume, "
        f"{len(outcome.unequal)} with other numbers",
        f"- {outcome.left_out} readings of damaged or absent files skipped, each named in the log",
    ]
    if outcome.not_run:
        lines.append(f"- not run here: {', '.join(outcome.not_run)} (mounting takes root)")
    problems, not_judged = outcome.problems(), outcome.not_judged()
    if not_judged:
        lines.append(
            f"- memory of {' and '.join(not_judged)}: *not judged*, too few samples; give it more "
            "--minutes"
        )
    good = "Survived all of it" + ("." if not_judged else "; memory is flat.")
    lines += ["", f"**{good}**" if not problems else "**FAILED**", ""]
    lines += [f"- {problem}" for problem in problems]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, records: Sequence[Record]) -> str:
    ends = {record.ends for record in records}
    then = THEN[ends.pop()] if len(ends) == 1 else ""
    seconds = [record.seconds for record in records if record.seconds is not None]
    worst = max((record.lost for record in records), default=0)
    allowed = max((record.may_lose for record in records), default=0)
    return (
        f"| {name} | {len(records)} | {sum(record.survived for record in records)} | {then} | "
        f"{worst} ({allowed}) | {sum(record.lost for record in records)} | "
        f"{f'{median(seconds):.0f}' if seconds else '-'} |"
    )


def write(outcome: Outcome, about: Mapping[str, str], folder: Path) -> None:
    """Write soak.json and soak.md."""
    text = json.dumps({"about": dict(about), **outcome.as_json()}, indent=1)
    (folder / "soak.json").write_text(text + "\n", encoding="utf-8")
    (folder / "soak.md").write_text(markdown(outcome, about), encoding="utf-8")
