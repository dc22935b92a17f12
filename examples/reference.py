"""Write the configuration reference, configuration.md, from the dataclasses of the package.

python examples/reference.py            writes the page; a test compares it with the code
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from mgf_fairseq.criterion import MgfCriterionConfig
from mgf_fairseq.data.augment.config import AugmentConfig
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.model import MgfConfig
from mgf_fairseq.objectives import OBJECTIVES
from mgf_fairseq.objectives.config import ObjectiveConfig

PAGE = Path(__file__).resolve().parent / "configuration.md"
HEAD = """\
# Configuration reference

Every setting of pre-training that this package adds, with its default. Any of them can follow
`fairseq-hydra-train` or `mgf pretrain` as `key=value`. A key that the chosen YAML does not name
needs a `+` before it.

The YAML files set other values than these defaults:
[pretrain](pretrain/README.md#configurations) lists them. To see the values of a training, add
`--cfg job` to its command. All other keys (`optimization`, `dataset`, `checkpoint`, `common`,
`distributed_training`) are fairseq's own.

This page is written by `python examples/reference.py`.
"""


def shown(value: Any) -> str:
    """A default as one would type it."""
    if value is dataclasses.MISSING or value == "???":
        return "required"
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{value}`" if str(value) else "empty"


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field, made if it has to be."""
    made = field.default_factory
    return made() if made is not dataclasses.MISSING else field.default


def table(config_type: type, prefix: str, skip: frozenset[str] = frozenset()) -> str:
    """Markdown rows of a dataclass: key, default, meaning."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(config_type):
        if field.name.startswith("_") or field.name in skip:
            continue
        meaning = str(field.metadata.get("help", "")) or "follows the key that its default names"
        rows.append(f"| `{prefix}.{field.name}` | {shown(default_of(field))} | {meaning} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    common = frozenset(field.name for field in dataclasses.fields(ObjectiveConfig))
    parts = [
        HEAD,
        f"## Data and precision\n\n{table(MgfPretrainingConfig, 'task', frozenset(['augment']))}\n",
        f"## Augmentation\n\n{table(AugmentConfig, 'task.augment')}\n",
        f"## Encoder\n\n{table(MgfConfig, 'model')}\n",
        f"## Criterion\n\n{table(MgfCriterionConfig, 'criterion')}\n",
        "## Objectives\n\nEach objective has these two, some with another default:\n\n"
        f"{table(ObjectiveConfig, 'model.objectives.NAME')}\n",
    ]
    for name, objective in sorted(OBJECTIVES.items()):
        rows = table(objective.config_type, f"model.objectives.{name}", common)
        if "`model" in rows:
            parts.append(f"### {name}\n\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: written", file=sys.stderr)
