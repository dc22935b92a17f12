"""Models as other frameworks load them: `export` writes a checkpoint, `import_folder` reads back.

One file per format; what loads an export needs neither fairseq nor this package.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .folder import MARKER, new_folder, require_free, write_json

# name of a format -> the module that writes it
FORMATS = {
    "huggingface": "huggingface",
    "onnx": "onnx",
    "torchscript": "torchscript",
    "torch-export": "torch_export",
    "s3prl": "s3prl",
    "torchaudio": "torchaudio",
    "fairseq": "fairseq_model",
}


class MissingExtra(ValueError):
    """A package that this format needs is not installed."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What has been written."""

    format: str
    dest: Path
    files: list[str]
    facts: dict[str, Any]  # of the checkpoint
    parity: list[Any]  # of parity.Difference


def export(
    checkpoint: Path | str,
    to: str,
    dest: Path | str,
    dictionary: Path | None = None,
    results: Sequence[Path] = (),
) -> Exported:
    """Write a checkpoint in another format, and compare both.

    Args:
        checkpoint: pre-trained or fine-tuned, or the folder of its run.
        to: one of `FORMATS`.
        dest: folder to write; if it exists, it must be empty or of an earlier export.
        dictionary: symbols of a fine-tuned model, where the checkpoint holds none.
        results: folders of `mgf evaluate` and JSON files of `mgf score`, for the model card.

    Raises:
        ValueError: the checkpoint, the destination or this installation does not fit; the message
            says what to do. Nothing is written then.
    """
    dest = Path(dest)
    require_free(dest)
    module = importlib.import_module(f"{__name__}.{FORMATS[to]}")
    require_installed(to, module)
    from . import card, parity
    from .scores import read_scores
    from .source import read_source

    scores = read_scores(results)
    source = read_source(checkpoint, dictionary, module.HEADS)
    with new_folder(dest) as folder:
        differences = module.write(source, folder)
        parity.require_parity(differences, to)
        facts = card.facts_of(source)
        text = card.written(source, to, dest.name, facts, scores, differences, module.usage(source))
        (folder / "README.md").write_text(text, encoding="utf-8")
        told = {"format": to, **facts, "parity": [dataclasses.asdict(x) for x in differences]}
        write_json(folder / MARKER, told)
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return Exported(to, dest, files, facts, differences)


def require_installed(to: str, module: ModuleType) -> None:
    """Look for the packages of a format.

    Raises:
        MissingExtra: one is not there.
    """
    missing = [name for name in module.NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"--to {to}: {', '.join(missing)} not installed; pip install '.[export]'"
        )
