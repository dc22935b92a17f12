"""k-means over frames, as fairseq's HuBERT has it, by scikit-learn; and nearest centroids.

Below make.py, which says which frames these are.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]
_AT_ONCE = 10_000  # frames per mini-batch, and per step of the search for the nearest centroid


class UnitsError(ValueError):
    """Units cannot be made; the message says why, and the fix."""


def fit(frames: Frames, classes: int, seed: int) -> Frames:
    """Cluster frames.

    The settings are those of ``examples/hubert/simple_kmeans/learn_kmeans.py`` of fairseq. The same
    frames and seed give the same bits, on one machine and with one version of scikit-learn.

    Args:
        frames: (N, D).
        classes: K, number of clusters.
        seed: of the choice of the first centroids and of the mini-batches.

    Returns:
        (K, D) centroids.

    Raises:
        UnitsError: there are fewer frames than classes, or scikit-learn is not installed.
    """
    if len(frames) < classes:
        raise UnitsError(
            f"--classes {classes} for {len(frames)} frames: give fewer classes, or more audio"
        )
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UnitsError("scikit-learn is not installed; pip install '.[units]'") from None
    model = MiniBatchKMeans(
        n_clusters=classes,
        init="k-means++",
        max_iter=100,
        batch_size=_AT_ONCE,
        tol=0.0,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
        random_state=seed,
    )
    with warnings.catch_warnings(), threadpool_limits(limits=1):  # sums in one order
        # Fewer different frames than classes: make.py counts the units that occur.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(frames)
    return np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)


def nearest(frames: Frames, centroids: Frames) -> npt.NDArray[np.int64]:
    """Give each frame its nearest centroid: (N, D) and (K, D) -> (N,)."""
    norms = 0.5 * (centroids**2).sum(axis=1)
    found = [
        np.argmin(norms - frames[start : start + _AT_ONCE] @ centroids.T, axis=1)
        for start in range(0, len(frames), _AT_ONCE)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)
