"""What task.autocast computes in, by what the processor has."""

import pytest
import torch

from mgf_fairseq.utils import autocast, processor

FLAGS = {
    "a processor with avx512_bf16": ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", True),
    "one of ARM": ("Features\t: fp asimd bf16 i8mm", True),
    "one that converts alone": ("flags\t\t: fpu avx2 avx_ne_convert", False),
    "one with avx512 alone": ("flags\t\t: fpu avx2 avx512f avx512_bitalg", False),
    "a name that only contains it": ("model name\t: bf16 avx512_bf16", False),
}


@pytest.fixture(autouse=True)
def forget():
    autocast.autocast_dtype.cache_clear()
    yield
    autocast.autocast_dtype.cache_clear()


@pytest.mark.parametrize("kind", FLAGS)
def test_auto_takes_bf16_where_the_processor_has_it_and_says_so_once(
    kind, tmp_path, monkeypatch, caplog
):
    line, has = FLAGS[kind]
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    sample = {"net_input": {"source": torch.zeros(1)}}
    seen = []
    with caplog.at_level("INFO"):
        for _ in range(2):
            forward = autocast.in_autocast(
                lambda *_: seen.append(torch.is_autocast_enabled("cpu")), "auto"
            )
            forward(None, sample)
    assert seen == [has, has]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("bf16 over fp32 weights" if has else "fp32")


def test_bf16_and_none_do_not_ask_the_processor(monkeypatch):
    monkeypatch.setattr(autocast, "has_bf16", lambda device: pytest.fail("asked"))
    assert autocast.autocast_dtype("bf16", "cpu") is torch.bfloat16
    assert autocast.autocast_dtype("none", "cpu") is None
