"""The symbols of a fine-tuned model's outputs: those that its checkpoint holds, or those of a file.

Beside the reading of checkpoints; recognizers, classifiers and exports ask here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq.data import Dictionary

from .files import CheckpointError


def held_dictionary(state: dict[str, Any]) -> Dictionary | None:
    """The dictionary inside a checkpoint; None where it holds none, as a pre-trained one."""
    held = (state.get("task_state") or {}).get("target_dictionary")
    return held if isinstance(held, Dictionary) else None


def symbols_of(
    state: dict[str, Any],
    path: Path,
    ending: str,
    given: Path | str | None,
    beside: Path,
    outputs: int | None,
    special: bool = True,
) -> Dictionary:
    """The dictionary of a fine-tuned model: the given one, the checkpoint's own, or that beside it.

    Args:
        state: the checkpoint, read.
        path: the checkpoint's, for messages.
        ending: of the label files that it was fine-tuned with, such as ltr.
        given: a dictionary file, or the folder of ``dict.<ending>.txt``; None if none was named.
        beside: the folder to look in where none was named and the checkpoint holds none.
        outputs: number of the model's outputs, one for each symbol; None if that is not known.
        special: whether the symbols begin with fairseq's four special ones; not those of classes.

    Raises:
        CheckpointError: there is no dictionary, it cannot be read, or it is of another model.
    """
    held = held_dictionary(state)
    name = f"dict.{ending}.txt"
    file = Path(beside if given is None else given)
    file = file / name if file.is_dir() else file
    if given is None and held is not None:
        found, origin = held, "in it"
    elif file.is_file():
        found, origin = _read(file, special), f"in {file}"
    elif given is None:
        raise CheckpointError(
            f"{path}: holds no dictionary of its symbols, and there is no {beside / name}; name it "
            "with --dict"
        )
    else:
        raise CheckpointError(f"{file}: no such dictionary; name the {name} of its data")
    if outputs is not None and outputs != len(found):
        counted = " (4 special ones included)" if special else ""
        raise CheckpointError(
            f"{path}: the model has {outputs} outputs but the dictionary {origin} "
            f"{len(found)} symbols{counted}; name the {name} that it was trained with by --dict"
        )
    if held is not None and held.symbols != found.symbols:
        raise CheckpointError(
            f"{file}: these are not the symbols that {path} was trained with; drop --dict"
        )
    return found


def _read(path: Path, special: bool) -> Dictionary:
    """Read a dictionary file as fairseq does when it trains."""
    found = Dictionary(add_special_symbols=special)
    try:
        with path.open(encoding="utf-8") as lines:
            found.add_from_file(lines)
    except (OSError, ValueError, RuntimeError) as error:  # fairseq's own words
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: cannot be read as a dictionary ({reason})") from None
    return found
