"""From `task.data` and `task.corpora` to the dataset of a split.

Called by the task; reads manifests, joins those of several corpora, and says in the log how much of
each is trained.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .dataset import MgfDataset, require_some_files
from .distinct import read_speakers
from .entries import ManifestError
from .manifest import Manifest, read_manifest
from .mixture import JoinedManifest, Rows

logger = logging.getLogger(__name__)


def load_split(
    data: str,
    split: str,
    corpora: Mapping[str, float | None],
    build: Callable[[Rows], MgfDataset],
    progress: Callable[[], object] = lambda: None,
    distinct: str = "none",
) -> MgfDataset:
    """Read ``<data>/<split>.tsv``, or with corpora ``<data>/<corpus>/<split>.tsv`` of each.

    A split that is named ``<corpus>/<split>`` is of that corpus alone. What is trained is mixed by
    the weights of the corpora, in batches of distinct utterances or speakers; what is not,
    validation say, holds each utterance once. `progress` is called as manifests are read.

    Raises:
        ManifestError: a manifest is missing, malformed or without a long enough utterance.
        ValueError: the audio is not where a manifest says.
    """
    if not corpora or "/" in split:
        path = os.path.join(data, f"{split}.tsv")
        manifest = _read(path, progress)
        dataset = build(manifest)
        _require_kept(dataset, [path], [0, len(manifest)])
        _keep_apart(dataset, distinct, [path], [len(manifest)])
        return dataset
    paths = [os.path.join(data, name, f"{split}.tsv") for name in corpora]
    joined = JoinedManifest([_read(path, progress, split) for path in paths])
    dataset = build(joined)
    _require_kept(dataset, paths, joined.bounds.tolist())
    if dataset.shuffle:
        _mix(dataset, joined, corpora)
    _keep_apart(dataset, distinct, paths, [len(part) for part in joined.manifests])
    return dataset


def _keep_apart(
    dataset: MgfDataset, distinct: str, paths: Sequence[str], lengths: Sequence[int]
) -> None:
    """Set what must not come twice in a batch of what is trained."""
    if not dataset.shuffle or distinct == "none":
        return
    if distinct == "utterance":
        dataset.keep_apart()
        return
    speakers = read_speakers(paths, lengths)
    dataset.keep_apart(speakers)
    logger.info("%d speakers; a batch holds each of them once", len(np.unique(speakers)))


def _read(path: str, progress: Callable[[], object], split_of_corpora: str = "") -> Manifest:
    try:
        manifest = read_manifest(path, progress)
    except ManifestError as error:
        if not split_of_corpora or os.path.exists(path):
            raise
        raise ManifestError(
            f"{error}; with task.corpora each of them needs its {split_of_corpora}.tsv, and the "
            f"split of a single one is called CORPUS/{split_of_corpora}"
        ) from None
    require_some_files(manifest, path)
    return manifest


def _require_kept(dataset: MgfDataset, paths: Sequence[str], bounds: Sequence[int]) -> None:
    """Each manifest must have an utterance that is long enough."""
    kept = np.diff(np.searchsorted(dataset.lines, bounds))
    for number in np.flatnonzero(kept == 0).tolist():
        raise ManifestError(
            f"{paths[number]}: all {bounds[number + 1] - bounds[number]} utterances are shorter "
            f"than task.min_sample_size={dataset.crops.min_samples} samples; lower it"
        )


def _mix(dataset: MgfDataset, joined: JoinedManifest, corpora: Mapping[str, float | None]) -> None:
    """Mix, and log what each corpus has and gets."""
    mixture = dataset.mix(joined.bounds, list(corpora.values()))
    per_hour = 3600 * dataset.sample_rate
    hours = [float(part.num_samples.sum()) / per_hour for part in joined.manifests]
    for number, name in enumerate(corpora):
        held, given = mixture.held[number], mixture.given[number]
        logger.info(
            "corpus %s: %.2f h, %.1f %% of all; crops of %.2f h per epoch, %.1f %% of what is "
            "trained: %.2f passes per epoch",
            name,
            hours[number],
            100 * hours[number] / sum(hours),
            given / per_hour,
            100 * given / sum(mixture.given),
            given / held,
        )
