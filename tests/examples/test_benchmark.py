"""Pieces of the benchmark that need no GPU: the prediction, and the summary of a training's log."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "benchmark"


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_prediction_is_the_measured_rate_on_one_gpu_and_loses_the_exchange_on_more():
    rate = loaded("scaling").predicted_rate
    assert rate(1, 1000.0, 100.0, 95e6, 10.0) == pytest.approx(1000.0)
    # An update takes 0.1 s; 2 x 7/8 of 0.4 GB over 7 GB/s another 0.1 s.
    assert rate(8, 1000.0, 100.0, 1e8, 7.0) == pytest.approx(8000.0 / 2)


def test_a_summary_has_speed_wait_and_losses_and_refuses_a_log_that_is_too_short(tmp_path):
    training = loaded("training")
    log = tmp_path / "hydra_train.log"
    lines = []
    for update in (5, 10, 15):
        numbers = {"num_updates": update, "audio_s_per_s": 10 * update, "data_wait": 0.1}
        numbers |= dict.fromkeys(training.LOSSES, 10 - update / 5)
        lines.append(f"[x][train_inner][INFO] - {json.dumps(numbers)}\n")
    log.write_text("".join(lines))
    found = training.summary(log)
    assert (found["updates"], found["audio_s_per_s"], found["data_wait"]) == (15, 125.0, 0.1)
    assert found["losses"]["loss_frame"] == (9.0, 7.0)
    log.write_text(lines[0])
    with pytest.raises(ValueError, match="has 1 entries"):
        training.summary(log)


def test_a_line_of_the_history_has_where_it_was_measured_and_medians_of_ratios(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))  # it imports the other scripts
    ratios = loaded("ratios")
    took = {ratios.MGF: 2.0, ratios.PHONEME_ONLY: 1.0, ratios.WAV2VEC2: 8.0}
    rounds = [ratios.ratios(took, plain, loaded=1.0) for plain in (2.0, 4.0, 10.0)]
    line = ratios.history_line(rounds, {"commit": "abc", "on": "a card"})
    assert line["ratios"] == {
        "mgf_speed_over_wav2vec2": 4.0,
        "four_objectives_over_one": 2.0,
        "loader_speed_over_sequential": 0.25,
    }
    for text in ratios.HISTORY.read_text().splitlines():
        kept = json.loads(text)
        assert kept["commit"] and kept["on"] and set(kept["ratios"]) == set(line["ratios"])


def test_the_gpu_script_names_its_parts(tmp_path):
    command = ["bash", str(FOLDER / "gpu.sh"), "nonsense"]
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "DEST": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no part nonsense: tests, small, base, train" in done.stderr
