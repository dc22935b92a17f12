"""The trainings of a recognition plan: what each starts from, its command and its folder.

asr.py runs and scores them; `mgf evaluate --asr-jobs` runs those of all plans side by side first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...baselines.acoustic_model import ACOUSTIC, write_untrained
from ...checkpoints.encoder import read_encoder
from ...checkpoints.fresh import shape_of
from ...host.training_process import training_command
from ..finetuning.recipe import Start, run_overrides
from ..finetuning.training import Training
from ..result_folders import result_name
from .asr_plan import Plan


def trainings_of(plan: Plan, work: Path) -> list[Training]:
    """One per seed, in their order.

    Args:
        plan: what ``plan_recognition`` made.
        work: folder for the trainings; what fbank and mfcc start from is written there.
    """
    folder = work / f"{plan.upstream.kind}-{plan.run_key}"
    recipe, cuda = plan.options.recipe, plan.options.device.startswith("cuda")
    start = _start(plan, folder)
    found = []
    for seed in plan.options.seeds:
        run = folder / f"seed{seed}"
        asked = [*run_overrides(start, plan.data, run, seed, cuda), *recipe.overrides]
        command = training_command(recipe.path, asked)
        name = f"asr, {result_name(plan.upstream)}, seed {seed}"
        found.append(Training(name, command, run, recipe.max_update))
    return found


def _start(plan: Plan, folder: Path) -> Start:
    """The checkpoint that fairseq is given; for fbank and mfcc it is written here."""
    upstream, options = plan.upstream, plan.options
    if upstream.kind in ACOUSTIC:
        assert options.shape is not None
        path = folder / f"{upstream.kind}.pt"
        if not path.is_file():
            held = read_encoder(options.shape)
            # The frame grid of the features, which need no conv stack.
            shape = replace(held.config, extractor_mode="layer_norm")
            write_untrained(path, upstream.kind, shape, upstream.sample_rate)
        return Start(path, True, True, upstream.sample_rate)
    path = shape_of(str(upstream.info["path"]))
    held = read_encoder(path)
    return Start(path, upstream.kind == "random", held.normalize, held.sample_rate)
