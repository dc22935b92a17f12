"""What several tests of the evaluations use."""

from pathlib import Path

import pytest
import tiny
import torch
from fairseq.dataclass.initialize import add_defaults
from omegaconf import OmegaConf


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained checkpoint as fairseq's trainer writes it, of a tiny model."""
    values = {k: v for k, v in vars(tiny.tiny_model_config()).items() if k != "_name"}
    del values["sample_rate"], values["seed"]
    config = OmegaConf.create(
        {
            "task": {"_name": "mgf_pretraining", "data": "somewhere"},
            "model": {**values, "_name": "mgf"},
            "criterion": {"_name": "mgf", "loss_weights": tiny.WEIGHTS},
            "common": {"seed": 1},
        }
    )
    add_defaults(config)
    _, model, _ = tiny.tiny_training()
    path = tmp_path_factory.mktemp("checkpoint") / "mgf.pt"
    history = {"num_updates": 1, "optimizer_name": "Adam", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(config, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": [history],
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}, "val_loss": 1.0},
        "task_state": {},
    }
    torch.save(state, path)
    return path
