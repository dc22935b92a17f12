"""fairseq's own hubert on MGF's data: the unit of each frame, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from fairseq.criterions.hubert_criterion import HubertCriterion
from fairseq.models.hubert import HubertModel
from fairseq.optim import FairseqOptimizer
from omegaconf import OmegaConf
from tiny_checkpoints import save, waveforms

from mgf_fairseq.acoustics.normalization import unit_variance
from mgf_fairseq.baselines.hubert import BaselineUnitsError, HubertBaselineTask
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.utils.package import config_dir
from mgf_fairseq.utils.transfer import from_bits

HOP, CLASSES = 320, 130


def composed(data, *overrides):
    paths = [f"task.data={data}", "common.user_dir=none"]
    return tiny.compose_recipe(config_dir("pretrain"), "mgf_debug", [*paths, *overrides])


@pytest.fixture
def data(tmp_path: Path, corpus: Path) -> Path:
    """Manifests, and units that number the frames of each utterance."""
    for folder in (tmp_path / "data", tmp_path / "data" / "units"):
        folder.mkdir()
        for split in ("train", "valid"):
            shutil.copy(corpus / f"{split}.tsv", folder)
    for split in ("train", "valid"):
        rows = (corpus / f"{split}.tsv").read_text().splitlines()[1:]
        counts = [int(row.split("\t")[1]) // HOP for row in rows]
        lines = [" ".join(map(str, range(count))) for count in counts]
        (folder / f"{split}.km").write_text("".join(f"{line}\n" for line in lines))
    (folder / "dict.km.txt").write_text("".join(f"{unit} 1\n" for unit in range(CLASSES)))
    return tmp_path / "data"


@pytest.fixture
def baseline(data):
    # As examples/evaluate/baselines.yaml has it.
    config = composed(data, "objectives=hubert", "model.mask_prob=1.1")
    task = HubertBaselineTask.setup_task(config.task)
    task.load_dataset("train")
    options = config.criterion
    criterion = HubertCriterion(
        task, options.pred_masked_weight, options.pred_nomask_weight, options.loss_weights
    )
    return config, task, task.build_model(config.model), criterion


def batch_of(task, items=range(6)):
    dataset = task.datasets["train"]
    dataset.set_epoch(3)
    return dataset.collater([dataset[item] for item in items])


def test_each_frame_of_a_crop_has_the_unit_of_the_nearest_frame_of_its_utterance(baseline):
    _, task, model, _ = baseline
    sample = batch_of(task)
    (targets,) = task.batch_for(sample, model)["target_list"]
    rows, first = sample["net_input"]["rows"], task.dictionaries[0].index("0")
    source = from_bits(sample["net_input"]["source"])
    assert len(set(rows.starts)) > 6  # crops begin here and there
    for number, (entry, start) in enumerate(zip(sample["entries"], rows.starts, strict=True)):
        count = rows.num_samples[number]
        audio, _ = soundfile.read(entry, dtype="float32", start=start, frames=count)
        heard = unit_variance(torch.from_numpy(audio))
        torch.testing.assert_close(source[number, :count], heard)
        frames = (count - 400) // HOP + 1
        expected = first + round(start / HOP) + np.arange(frames)
        # Rounding may ask for one after the utterance's last frame.
        last = first + soundfile.info(entry).frames // HOP - 1
        assert targets[number, :frames].tolist() == np.minimum(expected, last).tolist()


def test_the_baseline_shares_encoder_data_and_schedule_with_mgf(data):
    ours, theirs = composed(data, "objectives=all"), composed(data, "objectives=hubert")
    for group in ("dataset", "optimization", "optimizer", "lr_scheduler"):
        assert ours[group] == theirs[group], group
    for name in ours.task:
        assert name == "_name" or ours.task[name] == theirs.task[name], name
    shared = set(EncoderConfig.__dataclass_fields__) & set(theirs.model)
    assert len(shared) > 20
    for name in shared - {"mask_prob"}:
        assert ours.model[name] == theirs.model[name], name


def test_a_step_of_fairseqs_model_and_criterion_learns_and_counts_the_audio(baseline):
    _, task, model, criterion = baseline
    assert type(model) is HubertModel and model.num_classes == [4 + CLASSES]  # special symbols
    optimizer = FairseqOptimizer(OmegaConf.create({}))
    optimizer._optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sample = batch_of(task)
    loss, _, log = task.train_step(sample, model, criterion, optimizer, 0)
    heard = (~sample["net_input"]["padding_mask"]).sum() / tiny.SAMPLE_RATE
    assert torch.isfinite(loss) and float(log["audio_s"]) == pytest.approx(float(heard))
    assert 0 < log["count_m_0"] < len(sample["entries"]) * 50
    learnt = ("feature_extractor", "encoder.layers", "label_embs_concat", "final_proj")
    for name, parameter in model.named_parameters():
        if name.startswith(learnt) and not name.endswith("k_proj.bias"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_its_checkpoint_is_read_layer_by_layer_and_builds_without_the_units(baseline, tmp_path):
    config, task, model, _ = baseline
    held = {"model": OmegaConf.to_container(config.model, resolve=True)}
    held["task"] = OmegaConf.to_container(config.task, resolve=True)
    upstream = load_upstream(save(tmp_path / "ck.pt", model.eval(), held))
    layers = config.model.encoder_layers
    assert upstream.kind == "hubert"
    assert upstream.layer_names == [f"layer {number}" for number in range(layers + 1)]
    waveform = torch.from_numpy(waveforms()[0])
    states = upstream([waveform]).hidden_states
    with torch.no_grad():
        top, _ = model.extract_features(
            unit_variance(waveform)[None], torch.zeros(1, len(waveform), dtype=torch.bool)
        )
    torch.testing.assert_close(states[-1], top, atol=1e-5, rtol=1e-4)
    shutil.rmtree(task.cfg.units)
    again = HubertBaselineTask.setup_task(config.task)
    again.load_state_dict({"dictionaries": task.dictionaries})  # as fairseq's loaders do
    again.build_model(config.model).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"train.km does not exist: make units with 'mgf units --checkpoint mfcc"),
        (lambda units: (units / "dict.km.txt").unlink(), r"dict.km.txt does not exist: make"),
        (lambda units: (units / "train.km").write_text("0 1\n"), r"train.km: 1 lines for 12"),
        (
            lambda units: (units / "train.km").write_text("0 1 2\n" * 12),
            r"train.km: 3 units for .*wav, of \d+ frames at task.label_rate=50",
        ),
        (
            lambda units: (units / "dict.km.txt").write_text("0 1\n"),
            r"train.km: a unit is not in dict.km.txt",
        ),
    ],
)
def test_units_that_do_not_fit_are_refused_in_one_line(data, spoil, message):
    spoil(data / "units")
    task = HubertBaselineTask.setup_task(composed(data, "objectives=hubert").task)
    with pytest.raises((BaselineUnitsError, ManifestError), match=message) as caught:
        task.load_dataset("train")
    assert "\n" not in str(caught.value)


def test_what_moves_frames_away_from_their_units_is_refused(data):
    for override, key in (
        ("+task.augment.speed_prob=0.5", "task.augment.speed_prob"),
        ("task.corpora={a: 1}", "task.corpora"),
    ):
        with pytest.raises(ValueError, match=key):
            HubertBaselineTask.setup_task(composed(data, "objectives=hubert", override).task)
