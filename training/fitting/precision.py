"""In what numbers a network is fitted: bfloat16 where the device multiplies it fast."""

import functools

import torch


def fast_precision(device: torch.device) -> torch.autocast:
    """The context in which a pass through the network is computed while it is fitted.

    bfloat16 on a GPU, and on a processor with AVX-512; float32 elsewhere, as PyTorch then has only
    loops of its own for bfloat16: a step of ResNet18 took ten times as long with AVX2.
    """
    fast = device.type != "cpu" or _processor_is_fast()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


@functools.cache
def _processor_is_fast() -> bool:
    """What PyTorch itself asks before it hands a convolution in bfloat16 to oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 -- has no public name
