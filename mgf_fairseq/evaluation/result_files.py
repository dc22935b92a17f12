"""Reading and writing result folders: one dataclass per JSON file, with errors that name the fix.

results.py has the dataclasses; utils/dataclass_json.py turns them into JSON and back.
"""

from __future__ import annotations

import json
import typing
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..utils.atomic import replace_file, replacing
from ..utils.dataclass_json import decode, dumps, encode
from .results import (
    ENHANCEMENT,
    FORMAT,
    RECOGNITION,
    UPSTREAM_FILE,
    Embeddings,
    EnhancementResult,
    RecognitionResult,
    TaskResult,
    UpstreamResult,
)
from .tasks import PROBE_TASKS

Record = TypeVar("Record")


class ResultError(ValueError):
    """A result file cannot be read or written; the message names the fix."""


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass as JSON, in one step."""
    with replace_file(path) as stream:
        stream.write(dumps(encode(record)) + "\n")


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file of this format back.

    Raises:
        ResultError: it is missing, not JSON, of another format version, or lacks a field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist: `mgf evaluate` writes it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ResultError(
            f"{path} cannot be read ({error}): remove it and evaluate again"
        ) from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise ResultError(
            f"{path} is of format {version!r} and this version of mgf reads {FORMAT}: remove the "
            "file and evaluate again, or use the version that wrote it"
        )
    try:
        return typing.cast(Record, decode(content, kind))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: {error}; remove the file and evaluate again") from None


@dataclass(frozen=True)
class ResultFolder:
    """Everything in a result folder."""

    path: Path
    upstream: UpstreamResult
    tasks: dict[str, TaskResult | EnhancementResult]  # of probes, by name
    recognition: RecognitionResult | None


def read_results(folder: Path) -> ResultFolder:
    """Read a result folder: its upstream, and the tasks that have results."""
    upstream = read_record(folder / UPSTREAM_FILE, UpstreamResult)
    tasks: dict[str, TaskResult | EnhancementResult] = {
        path.stem: read_record(path, TaskResult)
        for path in sorted(folder.glob("*.json"))
        if path.stem in PROBE_TASKS or _is_label_result(path)
    }
    enhancement = folder / f"{ENHANCEMENT}.json"
    if enhancement.exists():
        tasks[ENHANCEMENT] = read_record(enhancement, EnhancementResult)
    recognition = folder / f"{RECOGNITION}.json"
    return ResultFolder(
        folder,
        upstream,
        tasks,
        read_record(recognition, RecognitionResult) if recognition.exists() else None,
    )


def _is_label_result(path: Path) -> bool:
    """Whether a file that is not of a fixed task is the result of a label of the corpus."""
    if path.name in (UPSTREAM_FILE, f"{ENHANCEMENT}.json", f"{RECOGNITION}.json"):
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # not ours: results are written whole
    return isinstance(content, dict) and content.get("task") == path.stem and "format" in content


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write an .npz in one step."""
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            embeddings=np.asarray(embeddings.vectors, np.float32),
            labels=np.asarray(embeddings.labels, dtype=np.str_),
            speakers=np.asarray(embeddings.speakers, dtype=np.str_),
        )


def read_embeddings(path: Path) -> Embeddings:
    """Read what `write_embeddings` wrote; nothing in the file is executed."""
    try:
        with np.load(path, allow_pickle=False) as content:
            vectors, labels, speakers = (
                content[name] for name in ("embeddings", "labels", "speakers")
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path} cannot be read ({error}): remove it and probe again") from None
    return Embeddings(vectors.astype(np.float32), labels.tolist(), speakers.tolist())
