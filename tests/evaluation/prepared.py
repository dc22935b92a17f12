"""Prepared folders and stores of planted features, without audio, for the tests of the tasks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mgf_fairseq.encoder.geometry import ConvGeometry
from mgf_fairseq.extract.folder import FeatureStore, layer_file

LAYERS = ["layer 0", "layer 1"]


class FakeUpstream(SimpleNamespace):
    """An upstream of which only the name matters."""

    def of_segments(self, seconds: float) -> FakeUpstream:
        """Ask the planted store for one vector per segment."""
        fingerprint = f"{self.fingerprint} in {seconds} s"
        return FakeUpstream(**{**vars(self), "fingerprint": fingerprint, "seconds": seconds})


def upstream(layers: list[str] = LAYERS) -> FakeUpstream:
    """Make one."""
    info = {"name": "fake", "path": "runs/fake/ck.pt", "seed": 1, "num_updates": 5}
    return FakeUpstream(
        sample_rate=16000,
        geometry=ConvGeometry((400,), (320,)),
        kind="mgf",
        layer_names=layers,
        fingerprint="f" * 16,
        info={**info, "width": 6},
    )


def write_split(
    data: Path, name: str, frames: list[int], labels: dict[str, list[str]], prefix: str = ""
) -> None:
    """A manifest of files that do not exist, and label files."""
    data.mkdir(parents=True, exist_ok=True)
    rows = [f"{prefix or name}{k}.wav\t{320 * count + 80}" for k, count in enumerate(frames)]
    (data / f"{name}.tsv").write_text("\n".join([str(data), *rows]) + "\n")
    for ending, lines in labels.items():
        (data / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in lines))


class PlantedStores:
    """Takes the place of `cache_features`: features in which a label file can be read off."""

    def __init__(self, folder: Path, ending: str, layer: int = 1, noise: float = 1.0) -> None:
        self.folder, self.ending, self.layer, self.noise = folder, ending, layer, noise
        self.rows: dict[str, list[int]] = {}  # split -> rows that can be read
        self.shift = 0  # frames more than labels
        self.calls: list[str] = []

    def __call__(
        self, upstream, path, cache, layers, dtype="float16", progress=None
    ) -> FeatureStore:
        """Dimension k of the planted layer is high where the label is the k-th of the data."""
        self.calls.append(path.stem)
        data = path.parent
        lines = path.with_suffix(f".{self.ending}").read_text().splitlines()
        samples = [int(row.split("\t")[1]) for row in path.read_text().splitlines()[1:]]
        seconds = getattr(upstream, "seconds", None)
        step = round(16000 * seconds) if seconds else 320
        counts = [max(count // step, 1) for count in samples]
        kept = self.rows.get(path.stem, list(range(len(counts))))
        names = sorted({w for p in data.glob(f"*.{self.ending}") for w in p.read_text().split()})
        lengths = [counts[row] + self.shift for row in kept]
        rng = np.random.default_rng(len(path.stem))
        shape = (sum(lengths), max(len(names), 2))
        folder = self.folder / f"{path.stem}-{len(self.calls)}"
        folder.mkdir(parents=True)
        for name in layers:
            values = self.noise * rng.standard_normal(shape)
            if name == LAYERS[self.layer]:
                start = 0
                for row, length in zip(kept, lengths, strict=True):
                    words = lines[row].split()
                    for t in range(length):
                        word = words[min(t, len(words) - 1)]
                        values[start + t, names.index(word)] += 10
                    start += length
            np.save(folder / layer_file(name), values.astype(dtype))
        skipped = {row: "gone" for row in range(len(counts)) if row not in kept}
        return FeatureStore(
            folder, list(layers), 16000 / step, np.array(kept), np.array(lengths), skipped, {}
        )
