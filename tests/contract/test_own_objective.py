"""The page's objective in a package of its own, from pre-training to a word error rate."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from trainings import Training, Trainings

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 30
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the page shows."""
    page = (ROOT / "examples" / "objective.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)
    assert code is not None
    folder = tmp_path_factory.mktemp("mine") / "flux"
    folder.mkdir()
    (folder / "__init__.py").write_text(code[1])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with letters and speakers."""
    folder = tiny.write_corpus(tmp_path_factory.mktemp("data"), num_train=20)
    for split, count in (("train", 20), ("valid", 4)):
        (folder / f"{split}.ltr").write_text("A B | C D |\nE F A |\n" * (count // 2))
        (folder / f"{split}.spk").write_text("ann\nbob\n" * (count // 2))
    (folder / "dict.ltr.txt").write_text("".join(f"{letter} 10\n" for letter in "ABCDEF|"))
    return folder


def pretrain(trainings: Trainings, data: Path, package: Path, run: Path, updates: int) -> Training:
    config = ROOT / "examples" / "pretrain" / "config"
    words = ["--config-dir", str(config), "--config-name", "mgf_debug", f"task.data={data}"]
    words += [f"common.user_dir={package}", f"checkpoint.save_dir={run}", "common.log_interval=1"]
    words += ["dataset.max_tokens=60000", "dataset.num_workers=0"]
    words += ["+model.objectives.flux.level=50%", "+criterion.gradient_shares.flux=0.2"]
    words += [f"optimization.max_update={updates}"]
    training = trainings.start(words)
    assert training.exit_code() == 0, training.output()[-3000:]
    return training


def mgf(*words: object) -> tuple[Any, str]:
    """A verb in a process of its own: its result, and what it said."""
    line = [sys.executable, "-c", "import sys; sys.argv[0] = 'mgf'; from mgf_fairseq.cli import "
            "main; sys.exit(main())", *map(str, words), "--json"]  # fmt: skip
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


def test_the_objective_of_the_readme_goes_all_the_way(
    trainings: Trainings, package: Path, data: Path, user_dir: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = pretrain(trainings, data, package, run, UPDATES // 2)
    second = pretrain(trainings, data, package, run, UPDATES)  # resumes
    assert sorted(first.updates()) == list(range(1, UPDATES // 2 + 1))
    assert sorted(second.updates()) == list(range(UPDATES // 2 + 1, UPDATES + 1))
    health, _ = mgf("health", run)
    assert health["update"] == 25  # health looks at windows of so many updates
    assert 0 <= health["numbers"]["flux_direction"] <= 1 and health["numbers"]["loss_flux"] > 0

    (folder,), _ = mgf("extract", "--checkpoint", run, "--manifest", data / "valid.tsv",
                       "--dest", tmp_path / "features", "--layers", "last")  # fmt: skip
    assert folder["utterances"] == 4
    evaluated, _ = mgf("evaluate", "--checkpoint", run, "--user-dir", package, "--data", data,
                       "--tasks", "speaker", "--seeds", 1, "--dest", tmp_path / "results",
                       "--device", "cpu")  # fmt: skip
    assert evaluated["run"]["tasks"]["speaker"]["metric"] == "accuracy"

    config = ROOT / "examples" / "finetune" / "config"
    line = "the head of 'flux', which is no objective of mgf_fairseq or of an imported package"
    for given, skipped in ((user_dir, True), (package, False)):
        tuned = tmp_path / f"tuned_{skipped}"
        words = ["--config-dir", str(config), "--config-name", "ctc_quick", f"task.data={data}"]
        words += [f"model.w2v_path={run}/checkpoint_last.pt", f"common.user_dir={given}"]
        words += [f"checkpoint.save_dir={tuned}", "common.cpu=true", "dataset.num_workers=0"]
        words += ["optimization.max_update=2", "dataset.validate_interval_updates=2"]
        training = trainings.start(words)
        assert training.exit_code() == 0, training.output()[-3000:]
        assert training.output().count(line) == skipped
        scored = ["score", "--checkpoint", tuned, "--manifest", data / "valid.tsv"]
        with_package, said = mgf(*scored, "--user-dir", package, "--device", "cpu")
        assert line not in said and "reading checkpoint_best.pt" in said
        without, said = mgf(*scored, "--device", "cpu")
        assert said.count(line) == 1
        assert with_package["corpus"] == without["corpus"]
        assert without["corpus"]["utterances"] == 4
