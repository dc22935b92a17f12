"""One report for all tests that look at a whole one."""

from pathlib import Path

import fabricated as fab
import pytest

from mgf_fairseq.report.build import build_report


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One row with everything in it, and a baseline with little."""
    folder = tmp_path_factory.mktemp("results")
    every = ["sample", "frame", "phoneme", "utterance"]
    about = fab.upstream("all", config={"size": "4 x 192", "objectives": every})
    fab.write_whole(folder, about, (52.0, 88.0, 68.0, 61.0), every, each=4)
    fbank = fab.probed("phone", 38.3, layers=["fbank"])
    fab.write_folder(folder, fab.upstream("fbank", "fbank"), fbank)
    return folder


@pytest.fixture(scope="session")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of these results."""
    dest = tmp_path_factory.mktemp("report") / "new"
    build_report([results], dest, baseline="fbank")
    return dest
