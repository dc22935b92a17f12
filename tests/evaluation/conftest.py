"""What several tests of the evaluations use."""

from pathlib import Path

import prepared
import pytest
import tiny
import torch
from fairseq.dataclass.initialize import add_defaults
from omegaconf import OmegaConf
from planted import OPTIONS, phone_lines

from mgf_fairseq.evaluation.probes.trainer import ProbeConfig
from mgf_fairseq.evaluation.probing import plan_probe, run_probe


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


@pytest.fixture
def phones(tmp_path):
    """Train of two speakers, valid and test of one other each."""
    data = tmp_path / "data"
    for seed, (name, speakers) in enumerate(
        {"train": "aabb", "valid": "cc", "test": "ddd"}.items()
    ):
        labels = {"phn": phone_lines(len(speakers), 60, seed), "spk": list(speakers)}
        prepared.write_split(data, name, [60] * len(speakers), labels)
    return data


@pytest.fixture
def speakers(tmp_path):
    """24 recordings of each of two speakers, and speaker_test."""
    data = tmp_path / "data"
    prepared.write_split(data, "train", [120] * 48, {"spk": ["a", "b"] * 24})
    prepared.write_split(data, "speaker_test", [120] * 8, {"spk": ["a", "b"] * 4})
    return data


@pytest.fixture
def emotions(tmp_path):
    """Four speakers with six utterances each, in two splits."""
    data = tmp_path / "data"
    for name, who in {"train": "abc", "valid": "d"}.items():
        labels = {
            "emo": ["anger", "joy"] * 3 * len(who),
            "spk": [s for s in who for _ in range(6)],
        }
        prepared.write_split(data, name, [40] * 6 * len(who), labels)
    return data


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """`probe(task, data, ending, ...)` runs a task on features with that label planted."""

    def run(task, data, ending, options=OPTIONS, layer=1, change=None):
        stores = prepared.PlantedStores(tmp_path / f"features-{len(list(tmp_path.iterdir()))}",
                                        ending, layer)  # fmt: skip
        if change:
            change(stores)
        monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
        plan = plan_probe(task, prepared.upstream(), data, tmp_path / "cache", options)
        return plan, run_probe(plan)

    return run


@pytest.fixture
def languages(tmp_path):
    """Three languages by two speakers each in train, one each in valid and test."""
    data = tmp_path / "data"
    for name, rounds in {"train": "ab", "valid": "c", "test": "d"}.items():
        lang = ["de", "fa", "ku"] * 4 * len(rounds)
        spk = [f"{name}-{r}{k % 3}" for r in rounds for k in range(12)]
        prepared.write_split(data, name, [40] * len(lang), {"lang": lang, "spk": spk})
    return data


@pytest.fixture
def short_epochs(monkeypatch):
    """Enough for planted labels."""
    config = ProbeConfig(batch_size=64, epoch_items=6000)
    for task in ("phone", "speaker"):
        name = f"mgf_fairseq.evaluation.protocols.{task}._{task.upper()}"
        monkeypatch.setattr(name, config)
