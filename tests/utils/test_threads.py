"""Threads: results in order, with few items under way."""

from mgf_fairseq.utils.threads import ordered_map


def test_an_ordered_map_keeps_the_order_and_runs_little_ahead() -> None:
    taken = []

    def items():
        for number in range(2000):
            taken.append(number)
            yield number

    found = ordered_map(lambda n: n * n, items(), workers=4)
    assert [next(found) for _ in range(10)] == [n * n for n in range(10)]
    assert len(taken) < 500
    assert list(found) == [n * n for n in range(10, 2000)]
