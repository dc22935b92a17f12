"""Does one objective drown or oppose another? Rules on the gradient balance's numbers in the log.

Called by health.py with windows of those numbers (``pull_<part>``, ``cosine_<part>-<part>``); knows
neither fairseq nor torch.

Thresholds: a part that pulls with 19 of 20 leaves the others what rounding leaves; the recipes give
no part more than half. Cosines lie within 0.2 of 0 between most parts of healthy runs, and reach
0.8 between parts that ask for nearly the same, which is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

DROWNS = 0.95  # of all parts' pulls
OPPOSES = -0.5  # cosine
WEIGHTS, SHARES = "criterion.loss_weights", "criterion.gradient_shares"
Words = tuple[str, str, str, str]  # kind, subject, finding, advice


def find_unbalanced(windows: Sequence[Mapping[str, float]], summed_by: str) -> Iterator[Words]:
    """Say what is out of balance in windows that end with the newest.

    A pull counts if it is too large in three of the last four windows, a cosine if it is too low in
    the last two measurements (a log repeats each until the next). The advice names `summed_by`,
    which is WEIGHTS or SHARES.
    """
    number = "share" if summed_by == SHARES else "weight"
    first_advice = "" if summed_by == SHARES else f"give each a share ({SHARES}), or "
    last = windows[-1]
    several = sum(value > 0.0 for key, value in last.items() if key.startswith("pull_")) > 1
    for key in sorted(last):
        drowns = sum(window.get(key, 0.0) > DROWNS for window in windows[-4:]) >= 3
        if key.startswith("pull_") and several and drowns:
            part = key.removeprefix("pull_")
            yield (
                "drowning",
                part,
                f"{part} makes {100 * last[key]:.0f} % of the gradient that reaches the encoder, "
                "so the other objectives hardly train it",
                f"{first_advice}lower the {number} of {part} ({summed_by})",
            )
        if key.startswith("cosine_"):
            measured = list(dict.fromkeys(window[key] for window in windows if key in window))[-2:]
            if len(measured) == 2 and max(measured) < OPPOSES:
                first, second = key.removeprefix("cosine_").split("-")
                yield (
                    "opposing",
                    f"{first} and {second}",
                    f"their gradients point against each other (cosine {last[key]:.2f}): what one "
                    "builds the other takes down",
                    f"let them read different levels (model.objectives), or lower the {number} of "
                    f"one of them ({summed_by})",
                )
