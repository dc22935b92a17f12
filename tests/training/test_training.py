"""Training as a whole: the debug recipe, overfitting, resuming, and what a checkpoint holds."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from fairseq import checkpoint_utils
from fairseq_cli.train import main as fairseq_main

from mgf_fairseq.encoder.compilation import Compilation
from mgf_fairseq.model import MgfModel

pytestmark = pytest.mark.slow

NAMES = tuple(tiny.OBJECTIVES)
SMALL = [
    "dataset.max_tokens=100000",
    "dataset.validate_interval_updates=3",
    "checkpoint.save_interval_updates=3",
    "common.log_interval=1",
    "common.tensorboard_logdir=null",
]


@pytest.fixture
def train(corpus, user_dir, pretrain_configs, caplog):
    """`train(save_dir, *overrides)`: train the debug recipe here; returns the log by update."""

    def run(save_dir: Path, *overrides: str) -> dict[int, dict[str, float]]:
        given = [f"task.data={corpus}", f"common.user_dir={user_dir}"]
        given.append(f"checkpoint.save_dir={save_dir}")
        config = tiny.compose_recipe(pretrain_configs, "mgf_debug", [*given, *SMALL, *overrides])
        caplog.clear()
        with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "fairseq"):
            fairseq_main(config)
        lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "train_inner"]
        return {
            int(line["num_updates"]): {
                key: float(value) for key, value in line.items() if value is not None
            }
            for line in lines
        }

    return run


# ---- compiled


def test_a_compiled_training_validates_and_resumes_bit_for_bit(tmp_path, train, monkeypatch):
    monkeypatch.setattr(Compilation, "backend", "eager")  # inductor takes a minute
    given = ("+task.compile=encoder", "++task.num_buckets=2", "++criterion.cosine_interval=2")
    whole = train(tmp_path / "whole", "optimization.max_update=2", *given)
    train(tmp_path / "parts", "optimization.max_update=1", *given)
    torch._dynamo.reset()
    rest = train(tmp_path / "parts", "optimization.max_update=2", *given)
    for name in ("loss", "gnorm"):
        assert rest[2][name] == whole[2][name]
    states = [
        torch.load(tmp_path / run / "checkpoint_last.pt", weights_only=False)["model"]
        for run in ("whole", "parts")
    ]
    assert not [name for name in states[0] if "_orig_mod" in name]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


# ---- learning


# Where each loss must end, in its own unit, after 150 steps on one batch of 4 clips. Measured ends
# are at most half of that: sample 1.2 (from 8.8), frame 0.07 (from 0.3), phoneme 0.1 (from 3;
# chance is log 11 = 2.4, where a collapsed encoder stays), utterance 0.001 (chance log 7 = 1.9).
ENDS = {"sample": 3.0, "frame": 0.15, "phoneme": 0.8, "utterance": 0.3}


@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES], ids="-".join)
def test_the_losses_of_four_clips_fall_far_below_chance(names):
    _, model, criterion = tiny.tiny_training(names)
    sample = tiny.tiny_sample(range(8))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    # The update stays 0, so that masks, negatives and segments stay: memorizing is the aim.
    for _ in range(150):
        optimizer.zero_grad()
        loss, _, log = criterion(model, sample)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    for name in names:
        end = float(log[f"sum:loss_{name}"] / log[f"count:loss_{name}"])
        assert end < ENDS[name], name


# ---- the debug recipe


def test_the_debug_recipe_runs_as_printed_without_a_warning_of_ours(
    tmp_path, corpus, user_dir, pretrain_configs
):
    result = subprocess.run(
        [
            str(Path(sys.executable).parent / "fairseq-hydra-train"),
            "--config-dir",
            str(pretrain_configs),
            "--config-name",
            "mgf_debug",
            f"task.data={corpus}",
            f"common.user_dir={user_dir}",
            "optimization.max_update=4",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-4000:]
    assert "done training" in output
    assert list(tmp_path.rglob("checkpoint_last.pt"))
    ours = [
        line
        for line in output.splitlines()
        if ("warning" in line.lower() or ("[mgf_fairseq" in line and "ERROR" in line))
        and "mgf_fairseq" in line
    ]
    assert ours == []


# ---- checkpoints


def test_a_checkpoint_gives_bit_equal_features_and_holds_nothing_but_plain_data(tmp_path, train):
    train(tmp_path, "optimization.max_update=2", "dataset.num_workers=0")
    path = tmp_path / "checkpoint_last.pt"
    state = torch.load(path, weights_only=True)  # refuses pickled classes

    # Where the run lay is nobody's business; fairseq itself stores task.data.
    for group in ("model", "criterion"):
        assert "/" not in json.dumps(state["cfg"][group])

    models, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    rebuilt = MgfModel(models[0].cfg)
    rebuilt.load_state_dict(state["model"], strict=True)
    inputs = tiny.tiny_sample([0, 1, 2])["net_input"]
    source, padding_mask = inputs["source"].float(), inputs["padding_mask"]
    with torch.no_grad():
        features = [
            m.eval().extract_features(source, padding_mask)["x"] for m in (models[0], rebuilt)
        ]
    assert torch.equal(*features)
    # The weights are what was trained, not a fresh draw.
    torch.manual_seed(99)
    fresh = MgfModel(models[0].cfg).eval()
    with torch.no_grad():
        assert not torch.equal(fresh.extract_features(source, padding_mask)["x"], features[0])


def test_training_continues_past_a_bad_file_and_counts_it(tmp_path, train, corpus):
    data = tmp_path / "data"
    data.mkdir()
    (data / "valid.tsv").write_text((corpus / "valid.tsv").read_text())
    lines = (corpus / "train.tsv").read_text().splitlines()
    # In no folder: the entry is missing.
    lines[3] = f"gone/{lines[3]}"
    (data / "train.tsv").write_text("\n".join(lines) + "\n")
    log = train(
        tmp_path / "run",
        f"task.data={data}",
        "optimization.max_update=6",
        "dataset.num_workers=0",
    )
    assert sorted(log) == [1, 2, 3, 4, 5, 6]
    assert sum(entry["skipped"] for entry in log.values()) >= 1
