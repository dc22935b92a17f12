"""Files and commands of 0.1.0 still work: checkpoints, features, results, data, configurations.

Everything in `made/` was written by that version (see README.md beside this file).
"""

import importlib
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
import yaml
from described import fill
from trainings import Trainings

from mgf_fairseq import cli
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.report.build import build_report

MADE = Path(__file__).parent / "made"
# Mean absolute value of each hidden state with the weights of `described.fill`, by 0.1.0.
SIZES = {
    "pretrained": [0.828432, 0.884854, 0.894515],
    "finetuned": [0.857794, 0.869766, 0.871561],
}


def checkpoint(folder: Path, name: str) -> Path:
    """Save a described checkpoint, with the tensors filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint_last.pt"
    torch.save(fill(json.loads((MADE / f"{name}.json").read_text())), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The prepared folder, with recordings of the lengths in its manifests."""
    data = tmp_path / "data"
    shutil.copytree(MADE / "data", data)
    for manifest in data.glob("*.tsv"):
        _, *rows = manifest.read_text().splitlines()
        for seed, row in enumerate(rows):
            name, length = row.split("\t")
            path = tmp_path / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tiny.speech_like(int(length) / 16000, seed), 16000)
        manifest.write_text("\n".join([str(tmp_path / "audio"), *rows]) + "\n")
    return data


def test_scripts_find_names_where_they_were():
    from mgf_fairseq.launching import Launch
    from mgf_fairseq.upstream import load_upstream

    assert Launch.__module__ == "mgf_fairseq.host.launcher"
    assert load_upstream("fbank")([np.zeros(16000)[::-1]]).hidden_states[0].shape[0] == 1


@pytest.mark.parametrize("name", SIZES)
def test_an_encoder_loads_and_gives_the_same_hidden_states(name, tmp_path):
    encoder = load_encoder(checkpoint(tmp_path, name))
    features = encoder([torch.from_numpy(tiny.speech_like(0.5, seed=1))])
    sizes = [float(states.abs().mean()) for states in features.hidden_states]
    # Kernels may differ from machine to machine.
    assert sizes == pytest.approx(SIZES[name], rel=1e-3)


def test_a_pretraining_resumes(tmp_path, data, trainings: Trainings, user_dir, pretrain_configs):
    state = json.loads((MADE / "pretrained.json").read_text())
    path = checkpoint(tmp_path / "run", "pretrained")
    model = {
        f"++model.{key}={value}" if not isinstance(value, str) else f'++model.{key}="{value}"'
        for key, value in state["cfg"]["model"].items()
        if key.startswith(("encoder_", "conv_")) and value is not None
    }
    training = trainings.start(
        [
            *("--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"),
            *("objectives=weights_0_1", "task.min_sample_size=8000"),  # the recipe of that version
            *(f"task.data={data}", f"common.user_dir={user_dir}", "common.log_interval=1"),
            *(f"checkpoint.save_dir={path.parent}", "dataset.num_workers=0"),
            *("dataset.disable_validation=true", "dataset.max_tokens=50000"),
            *("optimization.max_update=3", *sorted(model)),
        ]
    )
    assert training.exit_code() == 0, training.output()[-3000:]
    assert list(training.updates()) == [3]


def test_a_finetuned_model_transcribes(tmp_path, data, capsys):
    path = checkpoint(tmp_path / "run", "finetuned")
    arguments = ["score", "--checkpoint", str(path), "--manifest", str(data / "valid.tsv")]
    assert cli.main([*arguments, "--device", "cpu"]) == 0
    assert "WER" in capsys.readouterr().out


def test_a_prepared_folder_passes_its_check(data, capsys):
    assert cli.main(["check", str(data), "--workers", "1"]) == 0, capsys.readouterr().out


def test_a_folder_of_features_opens(tmp_path):
    store = importlib.import_module("mgf_fairseq.extract.folder")
    summary = json.loads((MADE / "features.json").read_text())
    frames = [49, summary["frames"] - 49]
    shutil.copy(MADE / "features.json", tmp_path)
    np.save(tmp_path / "rows.npy", np.arange(2))
    np.save(tmp_path / "lengths.npy", np.array(frames))
    for layer in summary["layers"]:
        array = np.zeros((sum(frames), summary["upstream"]["width"]), summary["dtype"])
        np.save(tmp_path / f"{layer.replace(' ', '_')}.npy", array)
    features = store.open_features(tmp_path)
    assert features.layer_names == ["layer 1", "layer 2"] and features.frame_rate == 50
    assert features.layer("layer 2").shape == (103, 16)


def test_results_make_a_report(tmp_path):
    shutil.copytree(MADE / "results", tmp_path / "results" / "all")
    build_report([tmp_path / "results"], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert all(score in page for score in ("52.0", "88.0", "68.0"))


@pytest.mark.parametrize("line", (MADE / "commands.txt").read_text().splitlines())
def test_a_command_is_understood(line, tmp_path, monkeypatch, capsys):
    # None of what it names is there, which is said in one line; argparse would raise SystemExit.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mgf"])
    assert cli.main(shlex.split(line)) == 2
    assert "error: " in capsys.readouterr().err


def test_what_a_configuration_names_is_found():
    callbacks = yaml.safe_load((MADE / "user.yaml").read_text())["hydra"]["callbacks"]
    module, name = callbacks["mgf_fairseq"]["_target_"].rsplit(".", 1)
    assert getattr(importlib.import_module(module), name).__name__ == "Launch"
