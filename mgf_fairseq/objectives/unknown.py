"""Objectives of a checkpoint whose package is not imported, where only the encoder is used."""

from __future__ import annotations

import copy
import logging
from typing import Any

from omegaconf import OmegaConf, open_dict, read_write

from .base import OBJECTIVES, PACKAGE_OF_ITS_OWN

logger = logging.getLogger(__name__)


def without_unknown(cfg: Any) -> Any:
    """The configuration of a checkpoint's model, less objectives that no imported package has.

    Fine-tuning and decoding build a pre-trained model to keep its encoder alone.
    """
    held = OmegaConf.select(cfg, "objectives") or {}
    unknown = [name for name in held if name not in OBJECTIVES]
    if not unknown:
        return cfg
    logger.warning(
        "skipped, as only pre-training needs it: the head of %s, which is no objective of "
        "mgf_fairseq or of an imported package. %s",
        " and of ".join(map(repr, unknown)),
        PACKAGE_OF_ITS_OWN,
    )
    cfg = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        cfg.objectives = {name: held[name] for name in held if name in OBJECTIVES}
    return cfg
