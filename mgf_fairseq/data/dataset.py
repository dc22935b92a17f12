"""Crops of audio files as training rows: views of an utterance, padded, never cut to the shortest.

Between the manifest and fairseq's batching; it knows nothing about masks or targets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from numpy.typing import NDArray
from torch import Tensor

from ..acoustics.normalization import unit_variance
from ..types import HostRows
from ..utils.rng import generator
from .audio import AudioError, AudioReader
from .augment.augmenter import Augmenter, Recording, View
from .batching import rounded_to_buckets
from .cache import AudioCache
from .collated import batch_of, padded
from .crops import Crops
from .distinct import plan_distinct
from .entries import ManifestError
from .limits import MUCH
from .mixture import Mixture, Rows
from .sample_counts import require_fit

logger = logging.getLogger(__name__)


class MgfDataset(FairseqDataset):
    """Views of the utterances of one manifest, or of several that are mixed.

    Crops are a function of (seed, epoch, utterance): the same on any rank or worker and after a
    resume. Where a mixture reads an utterance again within an epoch, its index is higher by the
    number of utterances each time, and its crops are others. A file that cannot be read is named,
    skipped in its batch and counted in ``num_skipped``; training continues. With ``repeat_shapes``
    views are padded to the longest of their length bucket, so that few shapes of batches come.
    """

    def __init__(
        self,
        manifest: Rows,
        crops: Crops,
        *,
        sample_rate: int,
        normalize: bool,
        shuffle: bool,
        seed: int,
        num_buckets: int,
        augmenter: Augmenter | None = None,
        repeat_shapes: bool = False,
    ) -> None:
        super().__init__()
        self.manifest, self.crops = manifest, crops
        self.sample_rate, self.normalize = sample_rate, normalize
        self.shuffle, self.seed = shuffle, seed
        self.augmenter = augmenter
        # Line numbers of the utterances that are long enough.
        self.lines = np.flatnonzero(manifest.num_samples >= crops.min_samples)
        self.view_sizes = crops.length(manifest.num_samples[self.lines])
        self.order_sizes = rounded_to_buckets(self.view_sizes, num_buckets)
        self.repeat_shapes = repeat_shapes
        # What a view takes in a batch: its own length, or that of the longest of its bucket.
        self.padded_sizes = self.order_sizes if repeat_shapes else self.view_sizes
        # Shared memory, since fairseq keeps workers alive from one epoch to the next.
        self.epoch = torch.ones(1, dtype=torch.int64)
        self.epoch.share_memory_()  # type: ignore[no-untyped-call]
        self.pending_skipped = 0  # in this worker, as the next
        self.logged_resampling = False
        self.mixture: Mixture | None = None
        self.labels: NDArray[np.int64] | None = None  # of items: no two alike in a batch
        self.cache: AudioCache | None = None
        self._log_skipped()

    def _log_skipped(self) -> None:
        """Log what is too short; as a warning with the key where it is much."""
        per_hour = 3600 * self.sample_rate
        total = float(self.manifest.num_samples.sum()) / per_hour
        kept = float(self.manifest.num_samples[self.lines].sum()) / per_hour
        count = len(self.manifest)
        much = len(self.lines) < (1 - MUCH) * count or kept < (1 - MUCH) * total
        shortest = self.crops.min_samples
        logger.log(
            logging.WARNING if much else logging.INFO,
            "%d of %d utterances (%.2f of %.2f h) are trained; %d are shorter than "
            "task.min_sample_size=%d samples (%.2f s) and skipped%s",
            len(self.lines),
            count,
            kept,
            total,
            count - len(self.lines),
            shortest,
            shortest / self.sample_rate,
            "; set it lower to train on them" if much else "",
        )

    def mix(self, bounds: NDArray[np.int64], weights: Sequence[float | None]) -> Mixture:
        """Read the corpora that lie between these lines in the shares that the weights say."""
        items = np.searchsorted(self.lines, bounds)
        sizes = self.num_tokens_vec(np.arange(len(self)))
        self.mixture = Mixture(sizes, items.tolist(), weights, self.seed)
        return self.mixture

    def keep_apart(self, labels: NDArray[np.int64] | None = None) -> None:
        """Put no two items of one label into a batch.

        Args:
            labels: (N,) of all the manifest's utterances; None: each utterance is one.
        """
        self.labels = self.lines if labels is None else labels[self.lines]

    def keep_audio(self, name: str, processes: int) -> None:
        """Keep decoded audio in memory, see `AudioCache`; raises ValueError if it does not fit."""
        read = np.zeros(len(self.manifest), np.int64)
        read[self.lines] = self.manifest.num_samples[self.lines]
        self.cache = AudioCache(name, read, self.sample_rate, processes)

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch, which decides the crops."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.lines)

    def size(self, index: int) -> int:
        """Samples that one utterance brings to a batch: all its views."""
        return int(self.padded_sizes[index % len(self)]) * self.crops.views

    num_tokens = size

    def num_tokens_vec(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples that each of the utterances brings to a batch."""
        return self.padded_sizes[indices % len(self)] * self.crops.views

    def ordered_indices(self) -> NDArray[np.int64]:
        """Sort by length, longest first, in random order within a bucket of lengths."""
        indices = np.arange(len(self))
        if self.mixture:
            drawn = self.mixture.draw(int(self.epoch))
            indices = drawn.items + drawn.repeats * len(self)
        tie_breaker = np.random.permutation(len(indices)) if self.shuffle else -indices
        order = np.lexsort([tie_breaker, self.order_sizes[indices % len(self)]])[::-1]
        return indices[order]

    def filter_indices_by_size(
        self, indices: NDArray[np.int64], max_sizes: Any
    ) -> tuple[NDArray[np.int64], list[int]]:
        """Keep everything: views are cut to size."""
        return indices, []

    def batch_by_size(
        self,
        indices: NDArray[np.int64],
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> Any:
        """Make batches of any number of utterances, of distinct ones if `keep_apart` was called.

        The multiple (``dataset.required_batch_size_multiple``, 8 by default) is ignored: fairseq
        drops a last batch that is not a multiple, and with it the shortest utterances.

        Raises:
            ValueError: an utterance does not fit into a batch.
        """
        largest = int(self.num_tokens_vec(indices).max(initial=0))
        if max_tokens is not None and largest > max_tokens:
            raise ValueError(
                f"dataset.max_tokens={max_tokens} is below the {largest} samples that an utterance "
                f"brings to a batch, {self.crops.views} crops (task.views); raise it to {largest} "
                "or more, or lower task.max_sample_size"
            )
        items = indices % len(self)
        if self.labels is None or len(np.unique(self.labels[items])) == len(items):
            return super().batch_by_size(indices, max_tokens, max_sentences, 1)
        plan = plan_distinct(
            self.num_tokens_vec(indices),
            self.labels[items],
            self.order_sizes[items],
            max_tokens,
            max_sentences,
        )
        return [indices[positions] for positions in plan]

    def __getitem__(self, index: int) -> dict[str, Any]:
        repeat, item = divmod(int(index), len(self))
        line = int(self.lines[item])
        width = int(self.padded_sizes[item]) if self.repeat_shapes else 0
        views: list[View] = []
        try:
            views = self._read_views(line, repeat, int(self.view_sizes[item]))
        except (AudioError, ManifestError, UnicodeDecodeError) as error:
            logger.warning("skipped in training: %s", error)
        sample: dict[str, Any] = {"line": line, "repeat": repeat, "width": width}
        sample |= {"views": [view.heard for view in views], "clean": [view.clean for view in views]}
        return {**sample, "starts": [view.start for view in views]}

    def _read_views(self, line: int, repeat: int, length: int) -> list[View]:
        """Read each view by seeking, in the file or in memory."""
        rng = generator(self.seed, line, repeat, int(self.epoch))
        entry = self.manifest.entry(line)
        kept = self.cache.kept(line) if self.cache else None
        if kept is not None:
            return self._cut(kept, line, repeat, length, rng)
        with AudioReader(entry, self.sample_rate) as reader:
            require_fit(reader, int(self.manifest.num_samples[line]))
            self._log_resampling(reader)
            source = self.cache.keep(line, reader) if self.cache else reader
            return self._cut(source, line, repeat, length, rng)

    def _cut(
        self, source: Recording, line: int, repeat: int, length: int, rng: np.random.Generator
    ) -> list[View]:
        """Read each view, changed and normalized as the settings say."""
        length = min(length, source.num_samples)
        starts = self.crops.starts(source.num_samples, length, rng)
        if self.augmenter:
            return [
                self.augmenter.read(source, start, length, self._key(line, repeat, number))
                for number, start in enumerate(starts)
            ]
        read = [torch.from_numpy(source.read(start, length)) for start in starts]
        views = [unit_variance(view) for view in read] if self.normalize else read
        return [View(view, view, start) for view, start in zip(views, starts, strict=True)]

    def _key(self, line: int, repeat: int, number: int) -> tuple[int, int, int]:
        """What the augmentation of a view depends on: its row, repeat and epoch."""
        return line * self.crops.views + number, repeat, int(self.epoch)

    def _log_resampling(self, reader: AudioReader) -> None:
        """Log the first file of another rate; `mgf prepare` and `mgf check` count them all."""
        if reader.native_sample_rate != self.sample_rate and not self.logged_resampling:
            self.logged_resampling = True
            logger.warning(
                "resampling on reading, to %d Hz: %s is the first of another rate (%d Hz)",
                self.sample_rate,
                reader.entry,
                reader.native_sample_rate,
            )

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch of what was read, or {}, and count what was not.

        A batch without a row reports with the next one: a dummy runs in its place.
        """
        self.pending_skipped += sum(not sample["views"] for sample in samples)
        batch = self.collate(samples)
        if batch:
            batch["num_skipped"], self.pending_skipped = self.pending_skipped, 0
        return batch

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad the views of a batch's utterances to one batch, or make {} where none was read."""
        rows = [
            (sample["line"], sample["repeat"] * len(self.manifest), number)
            for sample in samples
            for number in range(len(sample["views"]))
        ]
        if not rows:
            return {}
        heard = self._heard(samples)
        width = max(sample["width"] for sample in samples)
        # One of its own for each row, also where an utterance comes again.
        row_id = [(line + again) * self.crops.views + number for line, again, number in rows]
        keeps_clean = self.augmenter and self.augmenter.keeps_clean
        clean = [view for sample in samples for view in sample["clean"]] if keeps_clean else []
        return batch_of(
            padded(heard, width),
            padded(clean, width) if clean else None,
            HostRows(
                num_samples=tuple(len(view) for view in heard),
                row_id=tuple(row_id),
                counted=tuple(range(len(rows))),
                starts=tuple(start for sample in samples for start in sample["starts"]),
            ),
            [self.manifest.entry(line) for line, *_ in rows],
            [line for line, *_ in rows],
        )

    def _heard(self, samples: list[dict[str, Any]]) -> list[Tensor]:
        """What the encoder hears of each row: with the batch's other utterances mixed in, maybe."""
        heard = [view for sample in samples for view in sample["views"]]
        if self.augmenter is None or not self.augmenter.mixes:
            return heard
        read = [(sample, number) for sample in samples for number in range(len(sample["views"]))]
        keys = [self._key(sample["line"], sample["repeat"], number) for sample, number in read]
        return self.augmenter.mix(heard, [sample["line"] for sample, _ in read], keys)
