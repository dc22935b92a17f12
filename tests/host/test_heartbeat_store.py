"""Beats in the store."""

from __future__ import annotations

import pytest

from mgf_fairseq.host.heartbeat_store import Beat

pytestmark = [pytest.mark.slow, pytest.mark.ddp]


def test_a_beat_is_read_as_it_was_written():
    beat = Beat(3, 14, "the wait for data after update 7")
    assert Beat.decode(beat.encode().encode()) == beat
