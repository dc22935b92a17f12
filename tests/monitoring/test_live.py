"""A real training under watch: what it says live is what its log says later; NaN ends nothing."""

import dataclasses
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from fairseq_cli.train import main as fairseq_main

from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.host.iterators import StepClock
from mgf_fairseq.losses.contrastive import pairwise_discrimination
from mgf_fairseq.monitoring import history
from mgf_fairseq.monitoring.health import diagnose
from mgf_fairseq.monitoring.training_log import read_log
from mgf_fairseq.objectives.frame import FrameObjective

pytestmark = pytest.mark.slow


@pytest.fixture
def train(corpus, user_dir, pretrain_configs, caplog, tmp_path):
    """`train(*overrides)`: train the debug recipe here, its log written as hydra does."""

    def run(*overrides: str) -> Path:
        path = tmp_path / "hydra_train.log"
        handler = logging.FileHandler(path)
        handler.setFormatter(
            logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
        )
        given = [
            f"task.data={corpus}",
            f"common.user_dir={user_dir}",
            f"checkpoint.save_dir={tmp_path}",
            "dataset.max_tokens=60000",
            "dataset.num_workers=0",
            "checkpoint.save_interval_updates=1000",
            "dataset.validate_interval_updates=1000",
        ]
        config = tiny.compose_recipe(pretrain_configs, "mgf_debug", [*given, *overrides])
        logging.getLogger().addHandler(handler)
        try:
            # Commands that earlier tests ran in this process have quieted fairseq.
            with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "fairseq"):
                fairseq_main(config)
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
        return path

    return run


def said(caplog, module="mgf_fairseq.monitoring.live") -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == module]


def test_a_collapsed_training_says_so_live_as_its_log_does_and_again_after_a_resume(train, caplog):
    # A rate at which any Transformer collapses.
    sick = ["optimization.lr=[0.3]", "lr_scheduler.warmup_updates=1", "common.log_interval=5"]
    sick += ["objectives=only_phoneme"]
    path = train(*sick, "optimization.max_update=100")
    live = [line for line in said(caplog) if line.startswith("update ")]
    entries = read_log(path, "train_inner")
    found = diagnose(entries)
    assert live == [f"update {e.begin}: {e.verdict}" for e in found.episodes]
    assert any("collapse" in line and "optimization.lr" in line for line in live)
    assert any(line.startswith("not healthy at update 100: ") for line in said(caplog))
    assert all(0.0 <= entry["data_wait"] <= 1.0 for entry in entries)

    caplog.clear()
    path = train(*sick, "optimization.max_update=125")
    again = diagnose(read_log(path, "train_inner"))
    new = [episode for episode in again.episodes if episode.begin > 100]
    live = [line for line in said(caplog) if line.startswith("update ")]
    assert live == [f"update {e.begin}: {e.verdict}" for e in new]
    kinds = ", ".join(f"{v.kind} ({v.subject})" for v in again.now)
    assert any(line.startswith(f"not healthy at update 125: {kinds};") for line in said(caplog))


def test_a_healthy_training_says_one_line_at_validation_and_none_if_asked_not_to(train, caplog):
    train("optimization.max_update=30", "common.log_interval=5")
    assert said(caplog) == ["healthy at update 25"]
    caplog.clear()
    train(
        "optimization.max_update=60",
        "common.log_interval=5",
        "task.health=false",
    )
    assert said(caplog) == []


def changed_loss(part, change):
    """Change an objective's loss, and so those of its parts."""
    parts = {name: (change(total), count) for name, (total, count) in part.parts.items()}
    return dataclasses.replace(part, loss_sum=change(part.loss_sum), parts=parts)


@pytest.fixture
def spoil(monkeypatch):
    """`spoil(updates, how)`: make the frame objective's loss or gradient not finite there."""

    def install(updates, how):
        forward = FrameObjective.forward

        def spoiled(self, encoded, batch):
            part = forward(self, encoded, batch)
            if not self.training or batch.draw % 2**32 not in updates:
                return part
            extra = {
                "loss": torch.tensor(math.inf),
                "gradient": (encoded.latents[0] * 0.0).sum().sqrt(),
            }
            return changed_loss(part, lambda total: total + extra[how])

        monkeypatch.setattr(FrameObjective, "forward", spoiled)

    return install


def log_of(caplog) -> list[dict[str, float]]:
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "train_inner"]
    return [{k: float(v) for k, v in line.items() if v is not None} for line in lines]


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_training_continues_past_what_is_not_finite_naming_and_counting_it(
    train, caplog, spoil, how
):
    spoil({2, 4}, how)
    train("optimization.max_update=6", "common.log_interval=1", "dataset.disable_validation=true")
    log = log_of(caplog)
    assert [entry["nonfinite"] for entry in log] == [0, 0, 1, 0, 1, 0]
    assert all(math.isfinite(value) for entry in log for value in entry.values())
    module = "mgf_fairseq.criterion" if how == "loss" else "mgf_fairseq.task"
    first, second = said(caplog, module)
    assert first.startswith("update 3: ") and second.startswith("update 5: ")
    assert "frame" in first and ".wav" in first


def test_a_training_stops_where_the_budget_is_spent(train, caplog, spoil):
    spoil(set(range(20)), "gradient")
    with pytest.raises(RuntimeError, match=r"3 of the last 1000.*criterion\.nonfinite_budget=2"):
        train(
            "optimization.max_update=20",
            "+criterion.nonfinite_budget=2",
            "dataset.disable_validation=true",
        )


# ---- each sickness in a real training


def wrapped_forward(monkeypatch, change):
    """Let `change(part, update)` have the frame objective's output."""
    forward = FrameObjective.forward

    def changed(self, encoded, batch):
        return change(forward(self, encoded, batch), batch.draw % 2**32)

    monkeypatch.setattr(FrameObjective, "forward", changed)


def explode(monkeypatch, tmp_path):
    def louder(part, update):
        scale = 100.0 if update >= 30 else 1.0
        return changed_loss(part, lambda total: total * scale)

    wrapped_forward(monkeypatch, louder)
    return []


def read_slowly(monkeypatch, tmp_path):
    read = MgfDataset.__getitem__

    def slow(self, index):
        time.sleep(0.1)
        return read(self, index)

    monkeypatch.setattr(MgfDataset, "__getitem__", slow)
    # Nothing is read while a step computes: a step that a busy machine draws out hides no wait.
    return ["dataset.data_buffer_size=0"]


def be_not_finite(monkeypatch, tmp_path):
    def infinite(part, update):
        extra = math.inf if update == 38 else 0.0
        return changed_loss(part, lambda total: total + extra)

    wrapped_forward(monkeypatch, infinite)
    return []


def hum(monkeypatch, tmp_path):
    """Utterances that are a tone each: which one a segment is from is no question."""
    (tmp_path / "tones").mkdir()
    rows = []
    for number in range(6):
        tone = np.sin(2 * np.pi * 150 * 1.9**number * np.arange(24_000) / 16_000)
        soundfile.write(tmp_path / "tones" / f"{number}.wav", 0.5 * tone, 16_000)
        rows.append(f"{number}.wav\t24000")
    for split in ("train", "valid"):
        text = "\n".join([str(tmp_path / "tones"), *rows]) + "\n"
        (tmp_path / "tones" / f"{split}.tsv").write_text(text)
    return [f"task.data={tmp_path / 'tones'}"]


def mistake(monkeypatch, tmp_path):
    """Those tones, but to the objective neighbors belong together."""
    compare = pairwise_discrimination

    def told_wrong(rows, group, kind, *, gathered_group, **rest):
        return compare(rows, group.roll(1), kind, gathered_group=gathered_group.roll(1), **rest)

    monkeypatch.setattr("mgf_fairseq.objectives.utterance.pairwise_discrimination", told_wrong)
    return hum(monkeypatch, tmp_path)


FLAT = ["optimization.lr=[0.3]", "lr_scheduler.warmup_updates=1"]
STILL = ["optimization.lr=[1e-12]"]
# Targets that are learned, which may collapse.
LEARNED = ["model.objectives.phoneme.target=latents", "model.objectives.phoneme.offsets=[0]"]
PROVOKED = {
    "collapse (features)": [*FLAT, "objectives=only_phoneme"],
    "collapse (phoneme_diversity)": [*FLAT, *LEARNED, "objectives=only_phoneme"],
    "collapse (utterance_diversity)": [*FLAT, "objectives=only_utterance"],
    "worse than chance (phoneme)": [
        *(*STILL, "objectives=only_phoneme", "+model.objectives.phoneme.logit_temp=0.001")
    ],
    "pinned at chance (phoneme)": [
        *(*STILL, "objectives=only_phoneme", "+model.objectives.phoneme.logit_temp=100")
    ],
    "pinned at 1 (utterance)": [
        *(*STILL, "objectives=only_utterance", "model.objectives.utterance.level=latents", hum),
        "model.objectives.utterance.pooling=statistics",
    ],
    "pinned at 0 (utterance)": [
        *(*STILL, "objectives=only_utterance", "model.objectives.utterance.level=latents", mistake)
    ],
    "dead (frame)": [
        *("objectives=only_frame", "criterion.gradient_shares=null"),
        "+criterion.loss_weights.frame=0",
    ],
    "exploding gradient (gnorm)": ["objectives=only_frame", explode],
    "waiting for data (data_wait)": ["objectives=only_frame", read_slowly],
    "nonfinite (nonfinite)": ["objectives=only_frame", be_not_finite],
}


@pytest.mark.parametrize("sickness", PROVOKED)
def test_a_training_that_is_made_sick_says_so_with_advice(
    sickness, train, caplog, monkeypatch, tmp_path
):
    # Shorter windows than 25 updates and less patience than 200, so that tests are short.
    monkeypatch.setattr(history, "WINDOW", 5)
    monkeypatch.setattr(history, "PATIENCE", 20)
    overrides = [
        word
        for part in PROVOKED[sickness]
        for word in (part(monkeypatch, tmp_path) if callable(part) else [part])
    ]
    short = ["lr_scheduler.warmup_updates=5", "optimization.max_update=40"]
    short += ["common.log_interval=5", "dataset.disable_validation=true"]
    train(*short, *overrides)
    told = [line for line in said(caplog) if sickness in line]
    assert told and "To fix it: " in told[0], said(caplog)


def test_the_clock_separates_waiting_from_working(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mgf_fairseq.host.iterators.time.perf_counter", lambda: now[0])
    clock = StepClock()
    clock.wait(3.0)
    assert clock.begin() == {"wait_s": 3.0, "step_s": 3.0}
    now[0] += 2.0
    assert clock.begin() == {"wait_s": 0.0, "step_s": 0.0}  # a second micro-batch
    now[0] += 4.0
    clock.end()
    now[0] += 100.0  # validation, a checkpoint
    clock.wait(1.0)
    assert clock.begin() == {"wait_s": 1.0, "step_s": 7.0}
