"""Where this package and the files that ship with it are.

Every path beside the code is asked for here, so that a checkout and an installed wheel agree.
"""

from __future__ import annotations

from pathlib import Path

RECIPES = ("pretrain", "finetune")  # folders of mgf_fairseq/configs


def package_dir() -> Path:
    """The folder of this package, which fairseq takes as ``common.user_dir``.

    Links are not followed: fairseq compares the folder with the one that Python imported from.
    """
    return Path(__file__).absolute().parents[1]


def config_dir(kind: str = "pretrain") -> Path:
    """The folder of the YAML files of a kind, for `fairseq-hydra-train --config-dir`.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in RECIPES:
        raise ValueError(f"configs of {kind!r} do not exist; choose {' or '.join(RECIPES)}")
    return package_dir() / "configs" / kind
