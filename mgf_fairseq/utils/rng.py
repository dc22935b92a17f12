"""Random numbers that depend only on what they are for: (draw, row, position), on any device.

Objectives take their negatives and segments from here, so that a step computes the same thing
whatever rank, worker or batch a row lands in, and after a resume.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)  # of splitmix64, as signed int64
_INCREMENT = -0x61C8864680B583EB


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift int64 right, filling with zeros (torch fills with the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def hash_bits(bits: Tensor) -> Tensor:
    """Mix int64 values of any shape (the finaliser of splitmix64, Steele et al. 2014)."""
    bits = bits + _INCREMENT
    bits = (bits ^ _shift_right(bits, 30)) * _MULTIPLIERS[0]
    bits = (bits ^ _shift_right(bits, 27)) * _MULTIPLIERS[1]
    return bits ^ _shift_right(bits, 31)


def combine(key: Tensor, salt: int | Tensor) -> Tensor:
    """Derive new int64 keys from ``key`` and a salt that broadcasts against it."""
    return hash_bits(hash_bits(key) + salt)


def uniform(key: Tensor, num: int) -> Tensor:
    """Draw ``num`` numbers in [0, 1) for each key: (...) int64 -> (..., num) fp32."""
    counter = torch.arange(num, device=key.device)
    bits = hash_bits(hash_bits(key)[..., None] + counter)
    # 24 bits are what fp32 holds exactly, so that 1.0 is never reached.
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def generator(seed: int, update: int, row: int, axis: int = 0) -> np.random.Generator:
    """Make the generator of one row's mask: counter-based, so that no state is carried over."""
    key = np.array([seed & 0xFFFFFFFF, row & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    counter = np.array([0, 0, update, axis], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
