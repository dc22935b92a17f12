"""Options of a probe."""

import math

import pytest

from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.options import ProbeOptions

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.mark.parametrize(
    "bad",
    [
        *({"seeds": ()}, {"seeds": (1, 1)}, {"hidden": -2}, {"disjoint": "x"}),
        *({"segment_seconds": seconds} for seconds in (0, math.inf, math.nan)),
        {"dtype": "float64"},
    ],
)
def test_a_bad_option_is_named(bad):
    with pytest.raises(ProbeError, match=next(iter(bad))):
        ProbeOptions(**bad)
