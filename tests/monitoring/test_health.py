"""Health: a verdict for every sickness, none for a healthy run, live as from the log."""

import json
import math

import pytest

from mgf_fairseq import cli
from mgf_fairseq.monitoring.health import HealthMonitor, diagnose

CHANCE = {"phoneme": 1 / 101, "utterance": 0.2}
GUESSING = {name: -math.log(chance) for name, chance in CHANCE.items()}


def healthy_entry(update: int) -> dict[str, float]:
    """Numbers as of a healthy run (pre-norm, lr 2e-3, 120 updates of warm-up)."""
    progress = 1 - math.exp(-update / 300)
    entry = {
        "num_updates": update,
        "lr": 2e-3 * min(update / 120, 1.0, (1300 - update) / 1180),
        "gnorm": 1.1 - 0.7 * progress,
        "loss_frame": 0.45 - 0.24 * progress,
        # Guessing until update 150, as many a healthy run.
        "loss_phoneme": GUESSING["phoneme"] * min(1.0, 1.0 - 0.1 * (update - 150) / 1000),
        "phoneme_accuracy": 0.02 + 0.08 * progress,
        "phoneme_diversity": 0.06 + 0.4 * progress,
        # Far above chance for a while, and nearly collapsed at the start.
        "loss_utterance": GUESSING["utterance"]
        * (1.3 if update <= 100 else 2.1 if update < 180 else 1.0 - progress / 2),
        "utterance_accuracy": 0.4 + 0.4 * progress,
        "utterance_diversity": 0.006 if 25 < update <= 75 else 0.03,
        "std_latents": 0.6,
        "std_context": 0.6 if update < 50 else 0.2,
        "std_layer1": 0.7 + progress,
        "data_wait": 0.6 if update <= 25 else 0.02,
        "nonfinite": 0.0,
    }
    return entry | {f"{name}_chance": chance for name, chance in CHANCE.items()}


def log(step: int = 25, last: int = 1200, **changes) -> list[dict[str, float]]:
    """A log in which numbers are replaced from update 300 on; a function is given the update."""
    entries = [healthy_entry(update) for update in range(step, last + 1, step)]
    for entry in entries:
        if entry["num_updates"] >= 300:
            for name, value in changes.items():
                entry[name] = value(entry["num_updates"]) if callable(value) else value
    return entries


def verdicts(entries) -> dict[tuple[str, str], str]:
    return {verdict.key: str(verdict) for verdict in diagnose(entries).now}


@pytest.mark.parametrize("step", [1, 10, 25, 100])
def test_a_healthy_run_gives_no_alarm_whatever_the_log_interval(step):
    found = diagnose(log(step))
    assert found.now == [] and found.episodes == []
    assert len(found.windows) == 1200 // max(25, -(-25 // step) * step)


# What the sick runs of health.py's table showed -> verdict and the key that its advice names.
SICK = {
    "features": ({"std_context": 0.012}, ("collapse", "features"), "optimization.lr"),
    "share of the start": (
        {"std_layer1": lambda update: 0.1},
        ("collapse", "features"),
        "++model.layer_norm_first=true",  # some sizes do not name the key
    ),
    "targets": (
        {"phoneme_diversity": 0.02, "loss_phoneme": 1.02 * GUESSING["phoneme"]},
        ("collapse", "phoneme_diversity"),
        "criterion.loss_weights.phoneme",
    ),
    "embeddings": (
        {"utterance_diversity": 0.002, "loss_utterance": 2.0},
        ("collapse", "utterance_diversity"),
        "criterion.loss_weights.utterance",
    ),
    "worse than chance": (
        {"loss_utterance": 6.0},
        ("worse than chance", "utterance"),
        "criterion.loss_weights.utterance",
    ),
    "pinned at chance": (
        {"loss_phoneme": GUESSING["phoneme"] * 0.999},
        ("pinned at chance", "phoneme"),
        "criterion.loss_weights.phoneme",
    ),
    "pinned at 0": (
        {"utterance_accuracy": 0.05, "loss_utterance": 1.5 * GUESSING["utterance"]},
        ("pinned at 0", "utterance"),
        "criterion.loss_weights.utterance",
    ),
    "pinned at 1": ({"utterance_accuracy": 0.999}, ("pinned at 1", "utterance"), "max_tokens"),
    "dead": (
        {"loss_frame": healthy_entry(25)["loss_frame"] * 1.01},
        ("dead", "frame"),
        "model.objectives.frame.level",
    ),
    "exploding": (
        {"gnorm": lambda update: 2.0 if update == 1200 else 0.5},
        ("exploding gradient", "gnorm"),
        "optimization.clip_norm",
    ),
    "waiting": ({"data_wait": 0.5}, ("waiting for data", "data_wait"), "dataset.num_workers"),
    "nonfinite": ({"nonfinite": 1.0}, ("nonfinite", "nonfinite"), "task.autocast"),
    "drowning": (
        {"pull_frame": 0.02, "pull_utterance": 0.98},
        ("drowning", "utterance"),
        "criterion.gradient_shares",
    ),
    "opposing": (
        {"cosine_frame-phoneme": lambda update: -0.6 - 0.01 * (update // 200)},
        ("opposing", "frame and phoneme"),
        "model.objectives",
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_each_sickness_has_its_verdict_and_names_the_key_to_turn(name):
    changes, key, advice = SICK[name]
    found = verdicts(log(**changes))
    assert list(found) == [key]
    assert advice in found[key]


@pytest.mark.parametrize(
    "changes",
    [
        {"pull_frame": 1.0},  # there is no other
        {"pull_frame": 1.0, "pull_phoneme": 0.0},  # a share of 0
        {"pull_frame": lambda update: 0.99 if update == 1200 else 0.5, "pull_phoneme": 0.3},
        {"cosine_frame-phoneme": -0.9},  # measured once
        {"cosine_frame-phoneme": 0.9},  # the same way
        {"cosine_frame-phoneme": lambda update: -0.9 if update > 1000 else 0.1},
    ],
)
def test_a_balance_is_no_alarm_before_it_is_sure(changes):
    assert verdicts(log(**changes)) == {}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"loss_utterance": 6.0}, "or lower criterion.gradient_shares.utterance."),
        (SICK["drowning"][0], ": lower the share of utterance (criterion.gradient_shares)."),
        (SICK["opposing"][0], "lower the share of one of them (criterion.gradient_shares)."),
    ],
)
def test_under_shares_the_advice_names_shares_alone(changes, named):
    (advice,) = verdicts(log(**changes, factor_utterance=0.1)).values()
    assert named in advice and "weight" not in advice


def test_one_bad_window_is_no_collapse_and_a_recovered_run_is_healthy_again():
    once = log(std_context=lambda update: 0.01 if update == 500 else 0.2)
    assert diagnose(once).episodes == []
    recovered = diagnose(log(std_context=lambda update: 0.01 if update < 600 else 0.2))
    assert recovered.now == []
    (episode,) = recovered.episodes
    assert (episode.begin, episode.end) == (325, 600)


def test_guessing_during_a_long_warm_up_is_no_alarm():
    entries = [{**entry, "loss_phoneme": GUESSING["phoneme"]} for entry in log()]
    assert ("pinned at chance", "phoneme") in verdicts(entries)
    for entry in entries:
        entry["lr"] = 1e-6 * entry["num_updates"]
    assert verdicts(entries) == {}


def test_waiting_while_the_workers_start_is_no_alarm():
    entries = [healthy_entry(update) for update in (25, 50, 75, 100)]
    for entry, wait in zip(entries, (0.9, 0.9, 0.9, 0.01), strict=True):
        entry["data_wait"] = wait
    assert verdicts(entries) == {}
    entries[3]["data_wait"] = 0.9
    assert [kind for kind, _ in verdicts(entries)] == ["waiting for data"]


def test_a_window_is_the_mean_over_updates_whatever_stretch_an_entry_is_of():
    entries = [{"num_updates": 20, "gnorm": 1.0}, {"num_updates": 25, "gnorm": 6.0}]
    (window,) = diagnose(entries).windows
    assert (window.update, window.length) == (25, 25)
    assert window.values["gnorm"] == pytest.approx(2.0)


def test_an_entry_that_was_seen_or_has_no_update_changes_nothing():
    monitor = HealthMonitor()
    assert monitor.add(healthy_entry(25)) and monitor.verdicts() == []
    assert not monitor.add(healthy_entry(25)) and not monitor.add({"loss": 1.0})
    assert len(monitor.windows) == 1


def test_what_fairseqs_own_wav2vec2_logs_is_judged_by_its_gradient_alone():
    entries = [
        {"num_updates": n, "loss_0": 6.0, "loss_1": 0.1, "gnorm": 90.0 if n == 500 else 3.0}
        for n in range(25, 501, 25)
    ]
    assert list(verdicts(entries)) == [("exploding gradient", "gnorm")]


# ---- the command


def write_log(folder, entries):
    folder.mkdir()
    lines = (json.dumps({name: f"{value:g}" for name, value in entry.items()}) for entry in entries)
    text = "".join(f"[2026-01-01 00:00:00,000][train_inner][INFO] - {line}\n" for line in lines)
    (folder / "hydra_train.log").write_text(text)
    return folder


def test_mgf_health_says_healthy_and_shows_a_table(tmp_path, capsys):
    assert cli.main(["health", str(write_log(tmp_path / "run", log()))]) == 0
    shown = capsys.readouterr().out
    assert "healthy at update 1200" in shown
    assert "loss_phoneme" in shown and "std" in shown and "1200" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_mgf_health_says_what_is_wrong_since_when_and_fails(tmp_path, capsys):
    run = write_log(tmp_path / "run", log(std_context=0.012, gnorm=lambda n: 9 if n == 600 else 1))
    assert cli.main(["health", str(run / "hydra_train.log")]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "since update 325: collapse (features)" in shown and "optimization.lr" in shown
    assert "update 600 to 600, over: exploding gradient (gnorm)" in shown


@pytest.mark.parametrize("content", ["", "nothing of ours\n"])
def test_mgf_health_names_a_log_without_entries(tmp_path, content, capsys):
    (tmp_path / "hydra_train.log").write_text(content)
    assert cli.main(["health", str(tmp_path)]) == 2
    assert "common.log_format=json" in capsys.readouterr().err
    assert cli.main(["health", str(tmp_path / "none")]) == 2
