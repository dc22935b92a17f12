"""Measures of units against scikit-learn's mutual information and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from mgf_fairseq.units.quality import count_pairs, quality


def test_the_measures_equal_scikit_learn_s_and_counting_by_hand():
    rng = np.random.default_rng(0)
    phones = rng.integers(0, 5, 2000)
    units = np.where(rng.random(2000) < 0.6, phones + 1, rng.integers(0, 8, 2000))
    found = quality(count_pairs(units, phones, 8, 5))
    # PNMI = I(phone; unit) / H(phone), and H(phone) = I(phone; phone); fp64 rounding.
    pnmi = mutual_info_score(phones, units) / mutual_info_score(phones, phones)
    assert found.pnmi == pytest.approx(pnmi, abs=1e-12)
    purity = sum(np.bincount(phones[units == unit]).max() for unit in set(units.tolist())) / 2000
    cluster = sum(np.bincount(units[phones == phone]).max() for phone in range(5)) / 2000
    assert (found.phone_purity, found.cluster_purity) == pytest.approx((purity, cluster))
    assert (found.frames, found.phones, found.units) == (2000, 5, 8)


def test_units_that_are_the_phones_have_all_and_one_unit_has_nothing():
    phones = np.arange(12) % 3
    same = quality(count_pairs(phones + 1, phones, 5, 3))
    assert (same.phone_purity, same.cluster_purity) == (1, 1)
    assert same.pnmi == pytest.approx(1)
    one = quality(count_pairs(np.zeros_like(phones), phones, 5, 3))
    assert one.pnmi == pytest.approx(0, abs=1e-12) and one.phone_purity == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no frame"):
        quality(np.zeros((2, 2), np.int64))
