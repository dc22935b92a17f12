"""Specifications of fresh weights are taken apart and put together in one place."""

from pathlib import Path

from mgf_fairseq.checkpoints.fresh import FreshWeights, shape_of


def test_a_specification_is_read_with_or_without_a_seed_and_written_with_it(tmp_path: Path) -> None:
    named = tmp_path / "ck@7"
    named.touch()
    for spec, path, seed in [
        ("random:runs/a", "runs/a", 1),
        ("random:runs/a@3", "runs/a", 3),
        (f"random:{named}", str(named), 1),
        (f"random:{named}@3", str(named), 3),
    ]:
        found = FreshWeights.parse(spec)
        assert found == FreshWeights(path, seed) == FreshWeights.parse(str(found))
        assert shape_of(spec) == Path(path)
    assert FreshWeights.parse("runs/random:a@3") is None
    assert shape_of("runs/a@3") == Path("runs/a@3")
