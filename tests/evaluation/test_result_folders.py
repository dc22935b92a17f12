"""Where results lie and what they are called."""

import prepared
import pytest
from planted import ONE

from mgf_fairseq.evaluation.probing import write_probe
from mgf_fairseq.evaluation.result_files import ResultError
from mgf_fairseq.evaluation.result_folders import check_folder, result_name

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_a_folder_of_another_representation_is_refused(emotions, tmp_path, probe):
    plan, run = probe("emotion", emotions, "emo", ONE)
    write_probe(tmp_path / "r", plan, run)
    other = prepared.upstream()
    other.fingerprint = "0"
    with pytest.raises(ResultError, match=r"another representation.*--name"):
        check_folder(tmp_path / "r", other)


def test_results_are_named_after_the_folder_of_the_checkpoint():
    assert result_name(prepared.upstream()) == "fake"
