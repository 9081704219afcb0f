"""A processor that has no fast bfloat16 is not asked for it: training would take ten times as long."""

import platform
from pathlib import Path

import pytest
import torch
from torch import nn

from training.fitting.precision import fast_precision

AVX_512 = {"avx512bw", "avx512dq", "avx512vl"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the flags of an x86 processor")
def test_a_network_is_fitted_in_bfloat16_only_where_the_processor_multiplies_it() -> None:
    flags = next(
        line.partition(":")[2].split()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
    )
    convolution = nn.Conv2d(3, 4, 3)
    with fast_precision(torch.device("cpu")):
        computed = convolution(torch.zeros(1, 3, 8, 8))
    expected = torch.bfloat16 if set(flags) >= AVX_512 else torch.float32
    assert computed.dtype == expected
    assert convolution.weight.dtype == torch.float32
