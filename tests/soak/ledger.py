"""Every update that the training has logged: one that is done again must have the same numbers.

soak.py hands it what each life logs, and reports to it when the data were damaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from job import SAVE_EVERY

# Updates that damage to the data may reach after it is repaired: batches that were read ahead, and
# as many as two checkpoints are apart, since a resume can begin before the damage.
REACHES = 20 + 2 * SAVE_EVERY


class Ledger:
    """Updates and their numbers, as logged; `compared` and `unequal` of those logged twice."""

    def __init__(self) -> None:
        self.updates = 0
        self.compared = 0
        self.unequal: list[int] = []
        self._numbers: dict[int, str] = {}
        self._spoiled_through: float = 0

    def take(self, updates: Iterable[tuple[int, str]]) -> None:
        """Enter updates; where one is done again on whole data, compare."""
        for update, numbers in updates:
            self.updates += 1
            if update <= self._spoiled_through:
                self._numbers.pop(update, None)
                continue
            before = self._numbers.get(update)
            self._numbers[update] = numbers
            if before is not None:
                self.compared += 1
                if before != numbers:
                    self.unequal.append(update)

    def spoil(self) -> None:
        """From now on the data are damaged."""
        self._spoiled_through = math.inf

    def repair(self, update: int) -> None:
        """The data are whole again, and `update` was the last one."""
        self._spoiled_through = update + REACHES
