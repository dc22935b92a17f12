"""A pre-training that begins with another encoder: once, never again, and with no trace after."""

import logging
from pathlib import Path

import pytest
import tiny
import torch
from fairseq import checkpoint_utils
from fairseq_cli.train import main as fairseq_main

from mgf_fairseq.checkpoints.files import CheckpointError


@pytest.fixture
def train(corpus, user_dir, pretrain_configs, caplog):
    """`train(save_dir, *overrides)`: a few updates of the debug recipe; returns what it logged."""

    def run(save_dir: Path, *overrides: str) -> str:
        given = [f"task.data={corpus}", f"common.user_dir={user_dir}", "dataset.num_workers=0"]
        given += [f"checkpoint.save_dir={save_dir}", "dataset.max_tokens=100000"]
        given += ["dataset.disable_validation=true", "objectives=only_frame"]
        config = tiny.compose_recipe(pretrain_configs, "mgf_debug", [*given, *overrides])
        caplog.clear()
        with caplog.at_level(logging.INFO):
            fairseq_main(config)
        return str(caplog.text)

    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "checkpoint_last.pt", weights_only=True)[
        "model"
    ]
    return found


def test_a_training_begins_with_the_encoder_resumes_its_own_and_is_rebuilt_without_it(
    tmp_path, train
):
    first, second = tmp_path / "first", tmp_path / "second"
    train(first, "optimization.max_update=2", "common.seed=5")
    # A step so small that what is saved after one update is what it began with.
    begin = [f"+model.init_from={first}", "optimization.lr=[1e-20]", "optimization.max_update=1"]
    text = train(second, *begin)
    assert "objectives begin fresh" in text and "not in it" not in text
    before, after = weights(first), weights(second)
    encoder = [name for name in before if not name.startswith("objectives.")]
    # Where a weight is 0, the step of Adam is one rate.
    assert all(torch.allclose(before[x], after[x], rtol=0, atol=1e-19) for x in encoder)
    heads = [name for name in before if name.startswith("objectives.") and name.endswith("weight")]
    assert heads and not any(torch.equal(before[name], after[name]) for name in heads)

    (first / "checkpoint_last.pt").unlink()
    (first / "checkpoint_best.pt").unlink(missing_ok=True)
    text = train(second, *begin[:2], "optimization.max_update=2")
    assert "is not read again" in text
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(second / "checkpoint_last.pt")]
    )
    assert torch.equal(models[0].mask_emb, after["mask_emb"])
    with pytest.raises(CheckpointError, match="first"):
        train(tmp_path / "third", *begin)
    assert not list((tmp_path / "third").glob("*.pt"))
