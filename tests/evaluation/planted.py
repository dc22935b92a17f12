"""Options and phone labels of the tests of the tasks."""

import numpy as np
import prepared

from mgf_fairseq.evaluation.options import ProbeOptions
from mgf_fairseq.extract.folder import layer_file

PHONES = ["AA", "B", "SIL"]
OPTIONS = ProbeOptions(seeds=(1, 2), max_epochs=2)
ONE = ProbeOptions(seeds=(1,), layers=("1",))


def phone_lines(count, frames, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice([*PHONES, "SPN", "-"], frames)) for _ in range(count)]


def spoil_features(monkeypatch):
    """Let one vector of the planted layer be NaN in every split."""
    own = prepared.PlantedStores.__call__

    def call(self, *arguments, **more):
        store = own(self, *arguments, **more)
        path = store.folder / layer_file("layer 1")
        values = np.load(path)
        values[3] = np.nan
        np.save(path, values)
        return store

    monkeypatch.setattr(prepared.PlantedStores, "__call__", call)
