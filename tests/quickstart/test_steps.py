"""The steps of the quickstart: finished ones are skipped, ones of changed arguments are not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import steps as quickstart

from mgf_fairseq.utils.processes import Children


def run(folder: Path, corpus: str = "25", training: str = "400", asr: str = "600") -> list[str]:
    """Four steps that write a file each; the names of those that ran."""
    before = ran(folder)
    parts = {"corpus": corpus, "pretrain": training, "asr": asr, "report": "all"}
    steps = []
    for name, argument in parts.items():
        code = f"import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({argument!r}); "
        code += f"open(r'{folder}/ran', 'a').write('{name} ')"
        result = folder / f"{name}.out"
        updates = 5 if name == "pretrain" else 0
        steps.append(quickstart.Step(name, result, (sys.executable, "-c", code, result), updates))
    with Children() as children:
        quickstart.Steps(steps, folder / "steps").run(children)
    return ran(folder)[len(before) :]


def ran(folder: Path) -> list[str]:
    note = folder / "ran"
    return note.read_text().split() if note.exists() else []


def test_a_finished_step_is_skipped_and_a_changed_argument_reaches_all_later_steps(
    tmp_path, capsys
):
    assert run(tmp_path) == ["corpus", "pretrain", "asr", "report"]
    assert run(tmp_path) == []
    assert capsys.readouterr().out.count("finished, skipped") == 4
    assert run(tmp_path, asr="900") == ["asr", "report"]
    assert (tmp_path / "asr.out").read_text() == "900"
    (tmp_path / "report.out").unlink()
    assert run(tmp_path, asr="900") == ["report"]


@pytest.mark.parametrize("changed", [{"corpus": "10"}, {"training": "300"}])
def test_a_training_of_other_arguments_is_refused_before_anything_changes(tmp_path, changed):
    run(tmp_path)
    # Interrupted ones too, and those of a version that left no notes.
    for number in ("2.done", "2.begun"):
        with pytest.raises(SystemExit, match="begun with other arguments"):
            run(tmp_path, **changed)
        (tmp_path / "steps" / number).unlink()
    with pytest.raises(SystemExit, match="begun with other arguments"):
        run(tmp_path, **changed)
    assert ran(tmp_path) == ["corpus", "pretrain", "asr", "report"]
    assert (tmp_path / "corpus.out").read_text() == "25"


def test_a_step_that_failed_is_run_again_though_its_result_is_there(tmp_path):
    step = quickstart.Step("x", tmp_path / "x.out", (
        sys.executable, "-c", "import sys; open(sys.argv[1], 'w'); sys.exit(3)", tmp_path / "x.out",
    ))  # fmt: skip
    for _ in range(2):
        with pytest.raises(SystemExit, match="exit code 3"), Children() as children:
            quickstart.Steps([step], tmp_path / "steps").run(children)
