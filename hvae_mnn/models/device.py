"""The device and the precision in which a model computes."""

from __future__ import annotations

from typing import Literal

import torch

from hvae_mnn.errors import InputError
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.names import unknown_name

BF16_CPU_OUTPUT_WEIGHTS = 500_000
"""Size of the output layer (H x V) from which bfloat16 pays on a CPU that multiplies it natively. Measured on two cores
of an AVX512-BF16 CPU: a batch at paper size takes 0.30 s instead of 0.39 s. Recurrent layers gained under 5 % and stay
in float32."""
_DEVICES = ("auto", "cpu", "cuda", "cuda:N")


def pick_device(name: str) -> torch.device:
    """The device called `name` (`auto`, `cpu`, `cuda`, `cuda:1`); `auto` is the GPU where there is one.

    Raises `InputError` for an unknown name, or a device that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(unknown_name("device", name, _DEVICES)) from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(unknown_name("device", name, _DEVICES))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs; use cpu or auto")
    return device


def pick_precision(config: TrainingConfig, model_config: ModelConfig, device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision of a training run; `auto` is bf16 on a GPU that has it, and on a CPU where it is faster."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Without oneDNN a bfloat16 product on a CPU takes twenty times as long as a float32 one.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    native = onednn and torch.cpu.get_capabilities().get("avx512_bf16", False)
    large = model_config.hidden_size * model_config.vocabulary_size >= BF16_CPU_OUTPUT_WEIGHTS
    return "bf16" if native and large else "fp32"
