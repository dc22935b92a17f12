"""Fuzzed settings of model, objectives, task and criterion: they run, or are named."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from fairseq.dataclass.utils import merge_with_parent
from fuzzing import cases, outcome
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.objectives import OBJECTIVES
from mgf_fairseq.task import MgfPretrainingTask

REFUSALS = (ValueError, OmegaConfBaseException)
INFINITE = float("inf")
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([0.0, 0.5, 1.0, -0.1, 1.5, 1e-9, 1e9, float("nan"), INFINITE, -INFINITE]),
)
WORDS = st.sampled_from(
    (
        *("", "none", "static", "uniform", "normal", "poisson", "layer_norm", "default", "latents"),
        *("context", "0", "50%", "999%", "-1", "masked", "visible", "all", "mean", "binary"),
        *("[(4, 10, 5)] * 3", "[(4, 10, 5), (4, 0, 2)]", "[]", "[(4, 3)]", "__import__('os')"),
        *("mel", "lps", "mfcc", "prosody", "utterance", "1e3"),
    )
)
VALUES = st.one_of(
    NUMBERS,
    WORDS,
    st.none(),
    st.booleans(),
    st.lists(st.one_of(NUMBERS, WORDS), max_size=4),
    st.dictionaries(WORDS, NUMBERS, max_size=2),
)
ENCODER = sorted(field.name for field in dataclasses.fields(EncoderConfig))
OBJECTIVE = sorted(
    (name, field.name)
    for name in tiny.OBJECTIVES
    for field in dataclasses.fields(OBJECTIVES[name].config_type)
)
TASK = ["sample_rate", "normalize", "views", "max_sample_size", "min_sample_size", "num_buckets"]
TASK += ["rebuild_batches", "health", "log_interval", "autocast", "compile", "seed", "corpora"]


def step(model: Any) -> None:
    """One pass forward and back, as in training."""
    model.train()
    model.set_num_updates(1)
    output = model(**tiny.tiny_sample([0, 1, 2, 3])["net_input"])
    sum((part.loss_sum for part in output.objectives.values()), torch.zeros(())).backward()


def build(**settings: Any) -> Any:
    """A model as fairseq's trainer builds it."""
    config = OmegaConf.create({**dataclasses.asdict(tiny.tiny_model_config()), "_name": "mgf"})
    task = tiny.tiny_task()
    return task.build_model(OmegaConf.create({**config, **settings}))


@given(field=st.sampled_from(ENCODER), value=VALUES)
@cases(80)
def test_a_setting_of_the_encoder_is_taken_or_refused_by_name(field, value):
    model, _ = outcome(lambda: build(**{field: value}), REFUSALS, field)
    if model is not None:
        outcome(lambda: step(model), (), "")


@given(where=st.sampled_from(OBJECTIVE), value=VALUES)
@cases(80)
def test_a_setting_of_an_objective_is_taken_or_refused_by_name(where, value):
    name, field = where
    objectives = copy.deepcopy(tiny.OBJECTIVES)
    objectives[name][field] = value
    model, _ = outcome(lambda: build(objectives=objectives), REFUSALS, field)
    if model is not None:
        outcome(lambda: step(model), (), "")


@given(
    mapping=st.one_of(
        VALUES, st.dictionaries(st.sampled_from(["sample", "x", "utterance"]), VALUES)
    )
)
@cases(40)
def test_any_mapping_of_objectives_is_taken_or_refused_by_name(mapping):
    outcome(lambda: build(objectives=mapping), REFUSALS, "objectives")


@given(field=st.sampled_from(TASK), value=VALUES)
@cases(60)
def test_a_setting_of_the_task_is_taken_or_refused_by_name(corpus: Path, field, value):
    def run() -> None:
        values = {"data": str(corpus), "seed": 1, "_name": "mgf_pretraining", field: value}
        config = merge_with_parent(MgfPretrainingConfig(), OmegaConf.create(values))
        task = MgfPretrainingTask.setup_task(config)
        task.load_dataset("valid")
        dataset = task.datasets["valid"]
        dataset.collater([dataset[int(index)] for index in dataset.ordered_indices()[:2]])

    outcome(run, REFUSALS, field)


@given(weight=VALUES, budget=VALUES)
@cases(60)
def test_a_weight_is_taken_or_refused_by_name(weight, budget):
    task, *_ = _training()

    def run() -> MgfCriterion:
        values = {"loss_weights": {**tiny.WEIGHTS, "frame": weight}, "nonfinite_budget": budget}
        values |= {"sample_rate": 16000, "_name": "mgf"}
        return MgfCriterion(merge_with_parent(MgfCriterionConfig(), OmegaConf.create(values)), task)

    _, said = outcome(run, REFUSALS, "")
    assert not said or "loss_weights" in said or "nonfinite_budget" in said


_BUILT: list[Any] = []


def _training() -> Any:
    if not _BUILT:
        _BUILT.extend(tiny.tiny_training())
    return _BUILT


@pytest.mark.parametrize(
    "text", ["__import__('os').system('true')", "[(9**9**9, 1, 1)]", "[" * 999]
)
def test_the_conv_stack_is_read_without_evaluating_it(text):
    outcome(lambda: build(conv_feature_layers=text), ValueError, "conv_feature_layers")
