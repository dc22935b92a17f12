"""Waveforms as people have them: one or many; arrays, tensors, paths; any rate, stride and dtype.

Everything in Python that takes waveforms (encoder.py, upstream.py) takes them through here.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

from ..data.audio import AudioReader, entry_exists
from ..data.limits import SAMPLE_RATES

Waveform = Tensor | npt.NDArray[Any] | str | PathLike[str]
Waveforms = Waveform | Iterable[Waveform]

# Full scale and offset of integer samples; of 24 bits, files are read into the upper part of 32.
_INTEGERS = {
    torch.int16: (2.0**15, 0),
    torch.int32: (2.0**31, 0),
    torch.int8: (2.0**7, 0),
    torch.uint8: (2.0**7, 128),
}
_PAIR = "soundfile and librosa give (waveform, rate): pass (waveform, sample_rate=rate)"


def as_rows(
    given: Waveforms,
    rate: int,
    device: torch.device,
    *,
    sample_rate: int | None = None,
    least: int = 1,
) -> list[Tensor]:
    """Bring waveforms to a device, as fp32 at one rate; what was given is never changed.

    Integers (16, 32 and 8 bit) are scaled to -1..1, floats are taken as they are. Paths, and the
    entries of manifests, are read with their channels averaged. Silence is a waveform as any.

    Args:
        given: one waveform, or several: arrays or tensors of (S,), or paths of audio files.
        rate: Hz of what is returned.
        device: where to.
        sample_rate: Hz of what is given. If None, arrays are taken to be at ``rate``; files say
            their own.
        least: samples that a waveform must hold at ``rate``.

    Raises:
        ValueError: there is none, or one cannot be used; the message says which, and why.
    """
    if sample_rate is not None:
        sample_rate = _checked_rate(sample_rate)
    return [
        _row(item, f"waveform {number}", rate, sample_rate, least).to(device)
        for number, item in enumerate(as_list(given))
    ]


def as_list(given: Waveforms) -> list[Any]:
    """One waveform or several -> a list of them, which is not empty.

    Raises:
        ValueError: there is none.
    """
    items: list[Any] = [given] if _is_one(given) else list(cast(Iterable[Any], given))
    if not items:
        raise ValueError("no waveform given; give one of (S,), or a list of them")
    return items


def _is_one(given: Any) -> bool:
    """Whether this is one waveform: a path, or an array or tensor (of whatever shape)."""
    if isinstance(given, Mapping):
        raise ValueError(
            f"{_kind(given)} is no waveform; give its array, and its rate in Hz as sample_rate=..."
        )
    if isinstance(given, np.ndarray) and given.dtype == object:
        return False
    return isinstance(given, str | PathLike | Tensor | np.ndarray) or hasattr(given, "__array__")


def _row(item: Any, name: str, rate: int, sample_rate: int | None, least: int) -> Tensor:
    if isinstance(item, str | PathLike):
        with _audio(str(item), name, rate, sample_rate, least) as reader, _naming(name):
            return torch.from_numpy(reader.read())
    row = _samples(item, name)
    if sample_rate is not None and sample_rate != rate:
        resampled = soxr.resample(row.cpu().numpy(), sample_rate, rate, quality="HQ")
        row = torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))
    _require_length(len(row), name, least)
    return row


@contextmanager
def opened(
    given: Waveform,
    rate: int,
    device: torch.device,
    *,
    sample_rate: int | None = None,
    least: int = 1,
    name: str | None = None,
) -> Iterator[tuple[int, Callable[[int, int], Tensor]]]:
    """Open one waveform: how many samples it has, and a function (start, count) -> (count,) fp32.

    Both are at ``rate``. Of a file no more is read than is asked for. Arguments and errors are
    those of `as_rows`; ``name`` is what errors call the waveform.
    """
    if isinstance(given, str | PathLike):
        checked = None if sample_rate is None else _checked_rate(sample_rate)
        name = name or "the waveform"
        with _audio(str(given), name, rate, checked, least) as reader:

            def read(start: int, count: int) -> Tensor:
                with _naming(name):
                    return torch.from_numpy(reader.read(start, count)).to(device)

            yield reader.num_samples, read
    else:
        items = as_list(given)
        if len(items) != 1:
            raise ValueError(f"{len(items)} waveforms given; give one at a time")
        checked = None if sample_rate is None else _checked_rate(sample_rate)
        row = _row(items[0], name or "waveform 0", rate, checked, least).to(device)
        yield len(row), lambda start, count: row[start : start + count]


@contextmanager
def _audio(
    path: str, name: str, rate: int, sample_rate: int | None, least: int
) -> Iterator[AudioReader]:
    if not entry_exists(path):
        raise ValueError(f"{name}: {path}: no such file")
    with _naming(name):
        reader = AudioReader(path, rate)
    with reader:
        native = reader.native_sample_rate
        if sample_rate is not None and native != sample_rate:
            raise ValueError(
                f"{name}: {path}: its header says {native} Hz, and sample_rate={sample_rate} was "
                "given; leave sample_rate out, files are resampled by what their headers say"
            )
        _require_length(reader.num_samples, f"{name} ({path})", least)
        yield reader


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which waveform could not be read."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _require_length(count: int, name: str, least: int) -> None:
    if count < least:
        raise ValueError(
            f"{name} has {count} samples, fewer than the {least} that one frame needs; skip it"
        )


def _samples(item: Any, name: str) -> Tensor:
    """(S,) fp32 of an array or tensor, in memory of its own or shared and never written to."""
    if not isinstance(item, Tensor):
        item = _tensor(item, name)
    if item.dim() != 1:
        raise ValueError(
            f"{name} has shape {tuple(item.shape)}; give (S,), one channel: of several channels "
            "their mean, of a batch a list of its rows"
        )
    if not len(item):
        raise ValueError(f"{name} is empty; skip it")
    if item.dtype in _INTEGERS:
        scale, offset = _INTEGERS[item.dtype]
        row: Tensor = (item.to(torch.float64) - offset).div(scale).float()
    elif item.is_floating_point():
        row = item.detach().to(torch.float32)
    else:
        raise _not_audio(name, str(item.dtype).removeprefix("torch."))
    wrong = ~torch.isfinite(row)
    if bool(wrong.any()):
        raise ValueError(
            f"{name} holds {int(wrong.sum())} samples that are NaN or infinite, the first at "
            f"{int(wrong.nonzero()[0, 0])}; repair or skip it"
        )
    return row


def _tensor(item: Any, name: str) -> Tensor:
    """A tensor of what numpy can make an array of: any strides and byte order, writable or not."""
    if isinstance(item, numbers.Number):
        raise ValueError(f"{name} is the number {item}; {_PAIR}")
    if not hasattr(item, "__array__"):
        raise ValueError(f"{name} is {_kind(item)}; give an array or tensor of (S,), or a path")
    array = np.asarray(item)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)  # long double, which torch lacks
    try:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except TypeError:  # text, objects, dates
        raise _not_audio(name, str(array.dtype)) from None
    return tensor


def _not_audio(name: str, dtype: str) -> ValueError:
    return ValueError(
        f"{name} is of dtype {dtype}, which no audio is; give floats, or integers of 16 or 32 "
        "signed bits or of 8"
    )


def _kind(item: object) -> str:
    kind = type(item).__name__
    return f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"


def _checked_rate(sample_rate: Any) -> int:
    low, high = SAMPLE_RATES
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, numbers.Real):
        raise ValueError(f"sample_rate={sample_rate!r} must be one number, in Hz")
    if not low <= float(sample_rate) <= high or float(sample_rate) != int(float(sample_rate)):
        raise ValueError(
            f"sample_rate={sample_rate} must be a whole number from {low} to {high}, in Hz"
        )
    return int(float(sample_rate))
