"""Random numbers and hashes that depend only on what they are for, on any device.

Masks, crops, mixtures, negatives and segments are drawn here, so that a step computes the same
numbers whatever rank, worker or batch a row lands in, and after a resume.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)  # of splitmix64, as signed int64
_INCREMENT = -0x61C8864680B583EB


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift int64 right, filling with zeros (torch fills with the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def hash_bits(bits: Tensor) -> Tensor:
    """Mix int64 values of any shape (the finalizer of splitmix64, Steele et al. 2014)."""
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


def vector_keys(vectors: Tensor) -> Tensor:
    """Hash fp32 or fp64 bits, (..., D) -> (...) int64: equal vectors have equal keys.

    Others share one with a probability of 2**-32 at most: the sum of 32-bit words times odd random
    numbers, modulo 2**64 (multilinear hashing, Carter & Wegman 1979).
    """
    bits = (vectors.detach() + 0.0).contiguous().view(torch.int32).long()  # -0.0 + 0.0 is 0.0
    factors = _odd_factors(bits.shape[-1], bits.device)
    return bits.mul_(factors).sum(-1)  # the order of addition does not matter


@functools.lru_cache(maxsize=32)
def _odd_factors(num: int, device: torch.device) -> Tensor:
    """Random odd int64 numbers, the same every time: made once per device."""
    return hash_bits(torch.arange(num, device=device)) | 1


def generator(seed: int, item: int, *when: int) -> np.random.Generator:
    """Make the generator of one item: counter-based (Philox), so that no state is carried over.

    Args:
        seed: of the training.
        item: row, manifest line or corpus that the numbers are for.
        when: up to three numbers, such as the update and the axis, or the repeat and the epoch.
    """
    key = np.array([seed & 0xFFFFFFFF, item & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    counter = np.zeros(4, dtype=np.uint64)
    counter[4 - len(when) :] = when
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
