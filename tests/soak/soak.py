"""Train for hours while faults are injected at random, and end in a table of what was survived.

It writes its own corpus, trains the debug configuration, runs the same command again whenever that
has ended, and exits with 1 if a fault was not survived or memory grew. README.md explains.

    python tests/soak/soak.py --minutes 120 --dest runs/soak --seed 1
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from disk import Disk
from faults import FAULTS, Expected, Fault, Scene
from job import GONE_WITHIN_S, ROOT, SAVE_EVERY, WORKERS, Job, Life
from ledger import Ledger
from memory import Scale, growths
from sounds import Corpus
from table import Outcome, Record, write
from tqdm import tqdm

POLL_S = 0.25
GOES_ON = 5  # updates after a fault that show that it does
SETTLES_S = 30  # a training is left alone for so long at its start, at most


class Soak:
    """The run: one life of the training after the other, and the faults within them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.begun = time.monotonic()
        self.seconds: float = arguments.minutes * 60
        self.patience: float = arguments.patience
        self.dest: Path = arguments.dest
        self.rng = random.Random(arguments.seed)
        self.corpus = Corpus.write(self.dest, arguments.seed)
        self.disk = Disk(self.dest / "disk")
        self.job = Job(
            self.corpus.folder, self.disk.folder / "run", self.dest / "logs", arguments.ranks
        )
        self.outcome = Outcome(
            arguments.minutes, arguments.seed, arguments.ranks, WORKERS, SAVE_EVERY
        )
        self.ledger, self.scale = Ledger(), Scale()
        self.life = Life(-1, [], [])  # none yet
        self.seen = 0  # updates of this life that have been looked at
        self.waiting: Record | None = None  # a fault that has ended a life, until the next one runs
        self.recovers = ""  # what that life has to say
        self.about = _about(arguments)
        self.bar = tqdm(
            total=round(arguments.minutes, 2),
            unit="min",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total} min {postfix}",
            disable=None,
        )

    @property
    def now(self) -> float:
        return time.monotonic() - self.begun

    # ---- the whole of it

    def run(self) -> Outcome:
        """Inject faults until the time is over; leave nothing running."""
        self.disk.mount()
        kinds = [fault for fault in FAULTS if self.disk.mounted or not fault.needs_disk]
        self.outcome.not_run = [fault.name for fault in FAULTS if fault not in kinds]
        pause = min(45.0, max(3.0, self.seconds / 100))
        decks = {stage: self._deal(kinds, stage) for stage in (False, True)}
        try:
            self._start()
            while self.now < self.seconds:
                self._watch(lambda: self.life.ended, pause * self.rng.uniform(0.5, 1.5))
                if self.life.ended:
                    self._note_end_of_its_own()
                else:
                    # In the middle third nothing ends it, so that one process lives that long.
                    middle = self.seconds / 3 < self.now < self.seconds * 2 / 3
                    self._inject(next(decks[middle]))
                self._report()
            self._finish()
        finally:
            self._end_life()
            self.outcome.left_behind = [path.name for path in self.job.save_dir.glob("*.part*")]
            self.disk.unmount()
            self.bar.close()
            self._report()
        return self.outcome

    def _deal(self, kinds: list[Fault], middle: bool) -> Iterator[Fault]:
        """Draw without end; each kind comes once before any comes again."""
        while True:
            deck = [fault for fault in kinds if not middle or fault.ends is False]
            self.rng.shuffle(deck)
            yield from deck

    def _start(self) -> None:
        """Run the command and wait for its first update, which settles the fault before it."""
        while True:
            self.life = self.job.start(self.outcome.lives)
            self.outcome.lives += 1
            self.seen = 0
            self._watch(lambda: self.life.updates or self.life.ended, self.patience)
            if self.life.updates:
                break
            what = f"exit codes {self.life.exit_codes}" if self.life.ended else "a hang"
            record = self.waiting or Record("start", "", self.now, ends=True)
            record.problems.append(f"it does not start again ({what}): {self._last_words()}")
            self._end_life()
            self.waiting, self.recovers = None, ""
            if record not in self.outcome.records:
                self.outcome.records.append(record)
            if sum(not record.survived for record in self.outcome.records) > 20:
                raise SystemExit("20 faults were not survived; giving up, see soak.md")
        if self.waiting is not None:
            self.waiting.settle(self.life.first_update - 1, self.now - self.waiting.at_s)
            if self.recovers and not self.life.said(self.recovers):
                self.waiting.problems.append(f"{self.recovers!r} was not said at the next start")
        self.waiting, self.recovers = None, ""
        updates = self.life.last_update + GOES_ON
        self._watch(lambda: self.life.last_update >= updates or self.life.ended, SETTLES_S)

    # ---- one fault

    def _inject(self, fault: Fault) -> None:
        words, began = len(self.life.messages), self.now
        try:
            expected = fault.inject(
                Scene(self.life, self.corpus, self.disk, self.job.save_dir, self.rng)
            )
        except (OSError, IndexError, TimeoutError) as error:
            self._poll()
            record = Record(fault.name, "", began, fault.ends)
            record.problems.append(f"could not be injected: {error}")
            self.outcome.records.append(record)
            return
        if expected.spoils_data:
            self.ledger.spoil()
        record = Record(fault.name, expected.detail, self.now, fault.ends, expected.may_lose)
        self.outcome.records.append(record)
        self.bar.set_description_str(f"{len(self.outcome.records)}: {fault.name}")
        if fault.ends:
            self._see_it_end(record, expected, words)
        else:
            self._see_it_resume(record, expected, words)

    def _see_it_end(self, record: Record, expected: Expected, words: int) -> None:
        self._watch(lambda: self.life.ended, self.patience)
        if not self.life.ended:
            codes = [rank.poll() for rank in self.life.ranks]
            record.problems.append(f"hangs; exit codes so far {codes}: {self._last_words()}")
        else:
            record.problems += self._wrong_codes(expected)
            self._watch(lambda: not self.life.left_over(), GONE_WITHIN_S)
            if left := self.life.left_over():
                record.problems.append(f"{len(left)} processes outlive it")
        self._listen(record, expected, words)
        self._bury(record)
        expected.heal()
        self.recovers = expected.recovers
        self._start()

    def _see_it_resume(self, record: Record, expected: Expected, words: int) -> None:
        heal_at = self.now + expected.hold_s

        def held() -> bool:
            said = not expected.says or self.life.said(expected.says, words)
            return self.life.ended or bool(said and self.now >= heal_at)

        self._watch(held, self.patience)
        self._listen(record, expected, words)
        expected.heal()
        if expected.spoils_data:
            self.ledger.repair(self.life.last_update)
        words, updates = len(self.life.messages), self.life.last_update + GOES_ON

        def recovered() -> bool:
            said = not expected.recovers or self.life.said(expected.recovers, words)
            return self.life.ended or bool(said and self.life.last_update >= updates)

        if not self._watch(recovered, self.patience):
            record.problems.append(f"does not continue: {self._last_words()}")
        record.last_update = self.life.last_update
        record.seconds = self.now - record.at_s
        if self.life.ended:
            if record.ends is False or 0 in self.life.exit_codes:
                record.problems.append(f"ended, {self.life.exit_codes}: {self._last_words()}")
            self._bury(record)
            self._start()

    def _listen(self, record: Record, expected: Expected, words: int) -> None:
        if expected.says:
            record.said = self.life.said(expected.says, words)
            if record.said is None:
                record.problems.append(f"{expected.says!r} was not said: {self._last_words()}")

    def _wrong_codes(self, expected: Expected) -> list[str]:
        codes = self.life.exit_codes
        hit = codes[expected.rank]
        wrong = hit == 0 if expected.code is None else hit != expected.code
        return [f"exit codes {codes}"] if wrong or 0 in codes else []

    def _bury(self, record: Record) -> None:
        """Close a life; what it has lost is known once the next one runs."""
        self._end_life()
        record.last_update = self.life.last_update
        self.waiting = record

    def _end_life(self) -> None:
        self.life.destroy()
        self._poll()
        self.outcome.left_out += self.life.count("skipped in training")

    def _note_end_of_its_own(self) -> None:
        record = Record("none: it ended by itself", "", self.now, ends=True)
        record.problems.append(f"exit codes {self.life.exit_codes}: {self._last_words()}")
        self.outcome.records.append(record)
        self._bury(record)
        self._start()

    def _finish(self) -> None:
        """Stop the last life as it is meant to be stopped."""
        for rank in self.life.ranks:
            rank.send_signal(signal.SIGTERM)
        if not self._watch(lambda: self.life.ended, self.patience):
            record = Record("SIGTERM at the end", "", self.now, ends=True)
            record.problems.append(f"hangs: {self._last_words()}")
            self.outcome.records.append(record)

    # ---- watching

    def _watch(self, until: Callable[[], object], seconds: float) -> bool:
        """Wait for something, for so long at most, and sample memory meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            self._poll()
            if until():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)

    def _poll(self) -> None:
        self.life.poll()
        new = list(self.life.updates.items())[self.seen :]
        self.seen += len(new)
        self.ledger.take(new)
        self.scale.weigh(self.life, self.now)
        self.bar.update(round(min(self.now, self.seconds) / 60 - self.bar.n, 3))
        self.bar.set_postfix_str(f"update {self.life.last_update}, start {self.outcome.lives}")

    def _last_words(self) -> str:
        return " / ".join(self.life.messages[-3:])[-600:]

    def _report(self) -> None:
        """Write the table as it is now, so that a soak which is broken off leaves one."""
        outcome, ledger = self.outcome, self.ledger
        outcome.updates, outcome.compared = ledger.updates, ledger.compared
        outcome.unequal = ledger.unequal
        outcome.growths = growths(self.scale.samples)
        self.scale.write(self.dest / "memory.csv")
        write(self.outcome, self.about, self.dest)


def _about(arguments: argparse.Namespace) -> dict[str, str]:
    """What a reader has to know beside the numbers."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": f"python tests/soak/soak.py --minutes {arguments.minutes:g} "
        f"--seed {arguments.seed} --ranks {arguments.ranks}",
        "training": f"mgf_debug, {arguments.ranks} process(es), {WORKERS} loader workers each, a "
        f"checkpoint every {SAVE_EVERY} updates",
        "commit": commit or "unknown",
        "begun": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def main() -> int:
    """Run the soak; 0 if all was survived and memory is flat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--dest", type=Path, required=True, help="a new folder, or one of a soak")
    parser.add_argument("--seed", type=int, default=1, help="decides the faults and their order")
    parser.add_argument("--ranks", type=int, default=2, help="processes that train together (gloo)")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds after which it counts as hanging"
    )
    arguments = parser.parse_args()
    arguments.dest = arguments.dest.resolve()
    for name in ("disk", "logs", "data", "originals"):
        shutil.rmtree(arguments.dest / name, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcome = Soak(arguments).run()
    print((arguments.dest / "soak.md").read_text(encoding="utf-8"))
    return 1 if outcome.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
