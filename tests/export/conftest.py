"""One tiny checkpoint of each kind for all tests of exports; not to be changed."""

from pathlib import Path

import exported
import pytest


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained MGF."""
    return exported.encoder(tmp_path_factory.mktemp("encoder") / "checkpoint_last.pt")


@pytest.fixture(scope="session")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec_ctc on it, of letters."""
    return exported.ctc(tmp_path_factory.mktemp("ctc") / "checkpoint_best.pt")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec_classification on it, without an activation after the pooling."""
    return exported.classifier(tmp_path_factory.mktemp("classifier") / "checkpoint_best.pt")
