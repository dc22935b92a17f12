"""The recipes: each composes as fairseq-hydra-train composes it, and no field is dead."""

import dataclasses
import re
from pathlib import Path

import pytest
import tiny
import torch
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue

import mgf_fairseq
from mgf_fairseq.criterion import MgfCriterionConfig
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.encoder.feature_extractor import ConvFeatureExtractor
from mgf_fairseq.encoder.geometry import STANDARD_GRID, ConvGeometry, parse_conv_layers
from mgf_fairseq.host.start_checks import say_batch
from mgf_fairseq.model import MgfConfig
from mgf_fairseq.objectives import OBJECTIVES
from mgf_fairseq.objectives.config import parse_config
from mgf_fairseq.utils.package import config_dir

CONFIGS = config_dir("pretrain")
RECIPES = sorted(p.stem for p in CONFIGS.glob("*.yaml") if p.stem != "mgf_common")
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for group in ("size", "data", "objectives", "run")
    for path in (CONFIGS / group).glob("*.yaml")
)
PATHS = ["task.data=/manifests", "common.user_dir=/mgf"]
NAMES = {"sample", "frame", "phoneme", "utterance"}
SHARES = {"frame": 0.3, "frame_masked": 0.15, "phoneme": 0.33, "utterance": 0.2, "sample": 0.02}


def composed(name, *overrides):
    return tiny.compose_recipe(CONFIGS, name, [*PATHS, *overrides])


def test_there_are_recipes_and_options():
    assert {"mgf_base", "mgf_small", "mgf_debug"} <= set(RECIPES)
    assert "objectives=only_phoneme" in OPTIONS


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_with_all_four_objectives(name):
    config = composed(name)
    assert config.task._name == "mgf_pretraining"
    assert config.model._name == config.criterion._name == "mgf"
    assert set(config.model.objectives) == NAMES
    assert config.criterion.gradient_shares == SHARES and not config.criterion.loss_weights
    phoneme = config.model.objectives.phoneme
    assert phoneme == {
        "level": "context",
        "frames": "all",
        "kind": "contrast",
        "target": "mfcc",
        "offsets": [-6, -3, 0, 3, 6],
        "num_negatives": 0,
    }
    assert config.task.data == "/manifests" and config.common.user_dir == "/mgf"
    assert config.model.sample_rate == config.criterion.sample_rate == config.task.sample_rate
    assert config.optimization.max_update > 0 and config.dataset.max_tokens > 0


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes(option):
    composed("mgf_debug", option)


@pytest.mark.parametrize("name", RECIPES)
def test_the_folder_of_the_manifests_is_asked_for(name):
    # common.user_dir cannot be: over fairseq's own None a ??? changes nothing.
    with pytest.raises(MissingMandatoryValue, match="data"):
        tiny.compose_recipe(CONFIGS, name).task.data  # noqa: B018


def test_mgf_base_has_the_published_shape_and_regularization_of_wav2vec_2_base():
    model = composed("mgf_base").model
    assert (model.encoder_layers, model.encoder_embed_dim) == (12, 768)
    assert (model.encoder_ffn_embed_dim, model.encoder_attention_heads) == (3072, 12)
    assert model.conv_feature_layers == "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
    assert (model.conv_pos, model.conv_pos_groups, model.layer_norm_first) == (128, 16, False)
    # fairseq examples/wav2vec/config/pretraining/wav2vec2_base_librispeech.yaml
    assert (model.mask_prob, model.mask_length, model.mask_channel_prob) == (0.65, 10, 0.0)
    assert (model.dropout, model.attention_dropout, model.dropout_input) == (0.1, 0.1, 0.1)
    assert (model.encoder_layerdrop, model.feature_grad_mult) == (0.05, 0.1)
    phoneme = parse_config(OBJECTIVES["phoneme"].config_type, model.objectives.phoneme, "phoneme")
    assert (phoneme.logit_temp, phoneme.final_dim) == (0.1, 256)
    assert phoneme.num_negatives == 0  # all other frames of the row, where wav2vec 2.0 draws 100


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sample", {"snr_weight": 0.1, "si_sdr_weight": 0.0, "stft_weight": 0.0}),
        ("sample", {"segment_frames": 8, "hidden_dim": 128}),
        ("frame", {"features": ("mel", "mfcc", "prosody"), "normalization": "global"}),
        ("phoneme", {"num_negatives": 0, "target": "mfcc", "offsets": (-6, -3, 0, 3, 6)}),
        ("utterance", {"kind": "info_nce", "pooling": "mean", "logit_temp": 0.1}),
    ],
)
def test_what_the_results_were_measured_with_is_what_a_recipe_gives(name, settings):
    given = composed("mgf_small").model.objectives[name]
    config = parse_config(OBJECTIVES[name].config_type, given, name)
    assert {key: getattr(config, key) for key in settings} == settings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_the_frame_grid_of_label_files(name):
    geometry = ConvGeometry.of(parse_conv_layers(composed(name).model.conv_feature_layers))
    for grid in (geometry, STANDARD_GRID):
        assert (grid.hop_length, grid.receptive_field) == (320, 400)
    lengths = [399, 400, 719, 720, 16000]
    assert [geometry.num_frames(n) for n in lengths] == [0, 1, 1, 2, 49]


@pytest.mark.parametrize(("run", "ranks"), [("gpu_1", 1), ("gpu_8", 8), ("cpu", 1), ("slurm", 16)])
def test_mgf_base_trains_the_published_batch_with_each_run(run, ranks, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "16")
    config = composed("mgf_base", f"run={run}")
    assert config.distributed_training.distributed_world_size == ranks
    hours = config.dataset.max_tokens * ranks * config.optimization.update_freq[0] / 16000 / 3600
    assert hours == pytest.approx(1.56, abs=0.01)
    assert "(1.56 h)" in say_batch(config)


@pytest.mark.parametrize("gigabytes", [16, 24, 40, 80])
@pytest.mark.parametrize("ranks", [1, 8])
def test_a_preset_for_a_card_fits_its_memory_and_keeps_the_published_batch(ranks, gigabytes):
    config = composed("mgf_base", f"run=gpu_{ranks}", f"batch=gpu_{ranks}_{gigabytes}gb")
    seconds = config.dataset.max_tokens / 16000
    hours = seconds * ranks * config.optimization.update_freq[0] / 3600
    assert hours == pytest.approx(1.56, abs=0.01)
    # 68 MiB per second of audio, 16 bytes for each of 95 million parameters; a quarter stays free.
    assert 68 * 2**20 * seconds + 16 * 95e6 < 0.75 * gigabytes * 1e9


@pytest.mark.parametrize("name", RECIPES)
def test_the_conv_stack_of_a_recipe_hears_how_loud_a_frame_is(name):
    # Layer norms undo any factor, unless something is added before them.
    model = composed(name).model
    torch.manual_seed(1)
    layers = parse_conv_layers(model.conv_feature_layers)
    stack = ConvFeatureExtractor(layers, model.extractor_mode, model.conv_bias)
    waveform = torch.randn(1, 4000)
    with torch.no_grad():
        loud, soft = stack(waveform), stack(waveform / 30)
    assert (loud - soft).norm() > 0.1 * loud.norm()


def named_by(option):
    """What the name of an ablation promises."""
    kind, _, scale = option.partition("_")
    return {"all": NAMES, "only": {scale}, "no": NAMES - {scale}}[kind]


ABLATIONS = sorted((CONFIGS / "objectives").glob("*.yaml"))
for other in ("wav2vec2", "hubert", "apc"):  # the baselines: tests/baselines
    ABLATIONS.remove(CONFIGS / "objectives" / f"{other}.yaml")
ABLATIONS.remove(CONFIGS / "objectives" / "weights_0_1.yaml")  # what was the default: see below


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.stem)
def test_an_ablation_builds_the_objectives_of_its_name_with_their_shares(path):
    config = composed("mgf_debug", f"objectives={path.stem}")
    task = tiny.tiny_task()
    model = task.build_model(config.model)
    assert set(model.objectives) == named_by(path.stem)
    criterion = task.build_criterion(config.criterion)
    parts = {part for name in named_by(path.stem) for part in model.objectives[name].part_names}
    assert criterion.gradient_shares == {part: SHARES[part] for part in parts}
    # What is absent leaves the others in proportion.
    assert float(criterion.balance.shares.sum()) == pytest.approx(1.0)
    full = composed("mgf_debug")
    for name in named_by(path.stem):
        assert config.model.objectives[name] == full.model.objectives[name]


def test_weights_0_1_is_the_recipe_of_version_0_1():
    config = composed("mgf_mini", "objectives=weights_0_1", "data=segments_2s")
    assert config.model.objectives == {
        "sample": {"level": "latents"},
        "frame": {"level": "50%", "frames": "visible", "masked_level": "context"},
        "phoneme": {"level": "context", "frames": "masked"},
        "utterance": {"level": "context", "frames": "all"},
    }
    weights = {"sample": 0.01, "frame": 1.0, "phoneme": 0.05, "utterance": 0.001}
    assert config.criterion.loss_weights == weights and config.criterion.gradient_shares is None
    assert config.task.max_sample_size == 32000
    task = tiny.tiny_task()
    phoneme = task.build_model(config.model).objectives["phoneme"].config
    # What the class says where the recipe was silent.
    assert (phoneme.target, phoneme.offsets, phoneme.kind) == ("latents", (0,), "contrast")
    assert (phoneme.num_negatives, phoneme.final_dim, phoneme.logit_temp) == (100, 256, 0.1)
    assert phoneme.target_gradient
    assert task.build_criterion(config.criterion).loss_weights == weights


@pytest.mark.parametrize(("name", "seconds"), [("mgf_mini", 1), ("mgf_small", 1), ("mgf_base", 5)])
def test_views_are_short_in_the_small_recipes(name, seconds):
    assert composed(name).task.max_sample_size == seconds * 16000


@pytest.mark.parametrize("group", ["task", "model", "criterion"])
def test_a_key_that_no_config_knows_is_refused(group):
    with pytest.raises(ConfigKeyError, match="no_such_key"):
        composed("mgf_debug", f"+{group}.no_such_key=1")


def test_no_recipe_names_a_place_on_a_machine():
    for path in CONFIGS.rglob("*.yaml"):
        settings = [line.split("#")[0] for line in path.read_text().splitlines()]
        assert not re.search(r"[ :]/(?!objective:|hydra/launcher:)\w", "\n".join(settings)), path


# ---- fields

CONFIG_TYPES = [
    MgfPretrainingConfig,
    MgfConfig,
    MgfCriterionConfig,
    *(cls.config_type for cls in OBJECTIVES.values()),
]
READ_BY_FAIRSEQ = {"rebuild_batches"}  # FairseqTask.get_batch_iterator
FIELDS = [
    pytest.param(config_type, field, id=f"{config_type.__name__}.{field.name}")
    for config_type in CONFIG_TYPES
    for field in dataclasses.fields(config_type)
    if field.name != "_name"  # fairseq's own
]
SOURCE = "\n".join(p.read_text() for p in Path(mgf_fairseq.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(("config_type", "field"), FIELDS)
def test_every_field_is_read_and_has_help(config_type, field):
    read = re.search(rf"\b(cfg|config)\.{field.name}\b(?! *=[^=])", SOURCE)
    assert read or field.name in READ_BY_FAIRSEQ
    # An interpolation is plumbing between groups, not something to set.
    plumbing = isinstance(field.default, str) and field.default.startswith("${")
    assert plumbing or len(field.metadata.get("help", "")) > 10


def test_objective_settings_in_the_recipes_are_settings_of_the_objectives():
    config = composed("mgf_debug")
    for name, settings in config.model.objectives.items():
        known = {field.name for field in dataclasses.fields(OBJECTIVES[name].config_type)}
        assert set(OmegaConf.to_container(settings)) <= known
