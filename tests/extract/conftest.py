"""Fixtures of several files of this folder."""

import shutil
from pathlib import Path

import pytest
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.extract.upstream import Upstream, load_upstream


@pytest.fixture
def data(tmp_path: Path, corpus: Path) -> Path:
    """A corpus of 12 utterances that a test may change; returns its manifest."""
    shutil.copytree(corpus, tmp_path / "data")
    lines = (corpus / "train.tsv").read_text().splitlines()
    lines[0] = str(tmp_path / "data" / "audio")
    (tmp_path / "data" / "train.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data" / "train.tsv"


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return load_upstream(mgf_checkpoint(tmp_path / "ck.pt"))
