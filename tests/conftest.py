"""Fixtures of all tests: a small corpus, a tiny model, and random states that no test leaks."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from trainings import Trainings

from mgf_fairseq.model import MgfConfig
from mgf_fairseq.utils.package import config_dir, package_dir


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--device``, for the tests of tests/gpu."""
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        help="where tests/gpu computes (default: cuda if there is one, else they are skipped)",
    )


@pytest.fixture(autouse=True)
def random_states() -> Iterator[None]:
    """Start every test from the same random state and leave the state as it was."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.tsv (12 utterances) and valid.tsv (4), 16 kHz; not to be changed."""
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "manifests")


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """A server that starts trainings as processes of their own (trainings.py)."""
    server = Trainings(tmp_path_factory.mktemp("logs"))
    yield server
    server.stop()


@pytest.fixture
def tiny_model_config() -> Callable[..., MgfConfig]:
    """`tiny_model_config(names, **overrides)`: 2 layers of 16, by default all objectives."""
    return tiny.tiny_model_config


@pytest.fixture(scope="session")
def user_dir() -> str:
    """What `common.user_dir` takes."""
    return str(package_dir())


@pytest.fixture(scope="session")
def pretrain_configs() -> Path:
    """The folder of the pre-training YAML files."""
    return config_dir("pretrain")


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Gloo processes: `ranks.run(function, *args)` calls function(rank, *args) in each."""
    from rank_processes import Ranks

    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.stop()
