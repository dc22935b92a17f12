"""`mgf average`: means of weights, what is kept, and what cannot be averaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import finetuned, mgf_checkpoint

from mgf_fairseq.checkpoints.average import average, last_checkpoints
from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.cli import main
from mgf_fairseq.inference.recognizer import Recognizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fine-tuning run with four checkpoints, the last of which is also the best."""
    folder = tmp_path_factory.mktemp("run")
    state = torch.load(finetuned(folder / "start.pt"), weights_only=False)
    (folder / "start.pt").unlink()
    generator = torch.Generator().manual_seed(0)
    for updates in (100, 200, 300, 1000):
        for name, tensor in state["model"].items():
            state["model"][name] = tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        state["model"]["counter"] = torch.tensor(updates)
        state["optimizer_history"] = [{"num_updates": updates}]
        state["last_optimizer_state"] = {"state": {}}
        torch.save(state, folder / f"checkpoint_1_{updates}.pt")
    for name in ("best", "last"):
        shutil.copy(folder / "checkpoint_1_1000.pt", folder / f"checkpoint_{name}.pt")
    return folder


def test_the_last_checkpoints_are_averaged_and_the_newest_gives_all_else(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "new" / "average.pt"
    assert main(["average", str(run), "--last", "3", "--dest", str(dest)]) == 0
    assert "checkpoint_1_200.pt, 200 updates" in capsys.readouterr().out
    states = [read_checkpoint(run / f"checkpoint_1_{n}.pt") for n in (200, 300, 1000)]
    found = read_checkpoint(dest)
    for name, tensor in found["model"].items():
        if name == "counter":
            assert int(tensor) == 1000
            continue
        expected = sum(state["model"][name].double() for state in states) / 3
        assert tensor.dtype == torch.float32 and torch.equal(tensor, expected.float())
    assert found["cfg"] == states[-1]["cfg"] and found["optimizer_history"][-1] == {
        "num_updates": 1000
    }
    assert "last_optimizer_state" not in found
    assert [updates for _, updates in found["averaged"]] == [200, 300, 1000]
    assert main(["average", str(run), "--last", "2", "--dest", str(dest)]) == 0  # its own file
    assert not list(dest.parent.glob("*.part*"))


def test_an_average_is_used_as_its_checkpoints_are(run: Path, tmp_path: Path) -> None:
    paths = last_checkpoints(run, 2)
    for path in paths:  # an odd key, as in the other test, is none of the model's
        state = torch.load(path, weights_only=False)
        state["model"].pop("counter")
        torch.save(state, tmp_path / path.name)
    average([tmp_path / path.name for path in paths], tmp_path / "average.pt")
    waveform = torch.randn(16000)
    recognizer = Recognizer.load(tmp_path / "average.pt")
    assert recognizer.num_updates == 1000 and recognizer.transcribe(waveform)[0].seconds == 1.0


def test_an_average_of_pre_training_is_exported(tmp_path: Path) -> None:
    paths = [mgf_checkpoint(tmp_path / f"{seed}.pt", seed=seed) for seed in (1, 2)]
    average(paths, tmp_path / "average.pt")
    dest = tmp_path / "exported"
    given = ["export", str(tmp_path / "average.pt"), "--to", "torchscript", "--dest", str(dest)]
    assert main(given) == 0 and any(dest.iterdir())


def test_what_cannot_be_averaged_is_named_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run / "checkpoint_1_100.pt"
    dest = tmp_path / "average.pt"
    with pytest.raises(CheckpointError, match=r"5 checkpoints .* there are 4: .*keep_interval"):
        last_checkpoints(run, 5)
    cases = [
        (mgf_checkpoint(tmp_path / "mgf.pt"), "models 'wav2vec_ctc' and 'mgf'"),
        (finetuned(tmp_path / "abc.pt", symbols="|ABC"), "dictionaries of other symbols"),
        (finetuned(tmp_path / "plain.pt"), "counter is .* and not there"),
        (first, "all of them different"),
        (tmp_path / "none.pt", "no such checkpoint"),
    ]
    for other, named in cases:
        with pytest.raises(CheckpointError, match=named):
            average([first, other], dest)
    assert not dest.exists()
    foreign = tmp_path / "mgf.pt"
    assert main(["average", str(run), "--last", "2", "--dest", str(foreign)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert main(["average", str(run), "--dest", str(dest)]) == 2
    assert "--last" in capsys.readouterr().err
