"""Kernels for GPUs on Triton's interpreter, and the same in plain torch where kernels are not the
point.

With a GPU at hand the same tests run on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel

try:
    from benchmarks import roundings
    from livekit_xtts.model.device import attention, convolve
except ImportError:  # torch for CPUs alone comes without Triton.
    collect_ignore_glob = ["test_*.py"]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loop bounds of kernels as whole numbers: numpy gives arrays of one entry no other way."""
    if DEVICE.type == "cpu":
        from triton.runtime import interpreter

        patch = interpreter._patch_lang_tensor

        def patched(tensor, scope):
            patch(tensor, scope)
            scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

        monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)
        # The interpreter takes as long for a large block as for a small one.
        monkeypatch.setattr(convolve, "_ROWS", 2048)
        monkeypatch.setattr(convolve, "_POST_ROWS", 4096)
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def model() -> XttsModel:
    """Two blocks with two heads, and a vocoder with few channels."""
    config = XttsConfig.small(
        gpt_layers=2,
        gpt_n_heads=2,
        gpt_number_text_tokens=300,
        decoder_upsample_initial_channel=16,
        decoder_resblock_kernel_sizes=(3, 5),
        decoder_resblock_dilation_sizes=((1, 3), (1, 2)),
    )
    made = create_random(config, seed=0)
    return made.to(DEVICE) if hasattr(made, "to") else made


@pytest.fixture
def plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPT's kernels in torch: quick, and known to devices that are not there."""
    monkeypatch.setattr(attention, "attend", roundings.attend)
    monkeypatch.setattr(attention, "append", roundings.append_)
    monkeypatch.setattr(attention, "add_norm", roundings.add_norm)
