"""Gives each job of a hydra sweep a folder of its own, since the same folder would mean resuming.

:mod:`mgf_fairseq.host.launcher` calls ``separate_jobs`` before hydra plans the jobs.
"""

from __future__ import annotations

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

SAVE_DIR = "checkpoint.save_dir"
OmegaConf.register_new_resolver("mgf_folder", lambda text: as_folder(str(text)), replace=True)


def as_folder(text: str) -> str:
    """Make a folder's name of the settings of a job: ``optimization.lr=0.002``."""
    return re.sub(r"[^\w.,=+-]+", "_", text).strip("_").replace("=_", "=").replace("_,", ",")


def separate_jobs(config: DictConfig) -> None:
    """Add the swept settings to each job's folder, where that does not follow from them already.

    Args:
        config: of the whole sweep; the overrides that its jobs begin with are changed.
    """
    overrides = config.hydra.overrides
    parsed = OverridesParser.create().parse_overrides(
        OmegaConf.to_container(overrides.task, resolve=False)
    )
    folder = OmegaConf.to_container(config.checkpoint, resolve=False)["save_dir"]
    given = [item for item in parsed if item.key_or_group == SAVE_DIR]
    if any(item.is_sweep_override() for item in given):
        return
    swept = [item.key_or_group for item in parsed if item.is_sweep_override()]
    if not [key for key in swept if f".{key}}}" not in folder and f"{{{key}}}" not in folder]:
        return
    others = [item.key_or_group for item in parsed if item.key_or_group not in swept]
    names = ",".join([*others, SAVE_DIR])
    overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{names}]")
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    own = "${mgf_folder:${hydra:job.override_dirname}}"
    overrides.task.append(f"{SAVE_DIR}='{quoted}/{own}'")
