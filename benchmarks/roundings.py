"""What the precisions of a GPU cost in accuracy, computed without one.

    python -m benchmarks.roundings --json PATH [--model random] [--precision bf16]

The GPU's own runner and vocoder, with its programs replaced by the same arithmetic in torch: what
is stored there in 16 bits is rounded to 16 bits here, what is summed in float32 is summed so. Both
are put to their gates (`model.gates`). It takes minutes at full size on two cores.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import common
from livekit_xtts.model.device import attention
from livekit_xtts.model.device import vocoder as device_vocoder
from livekit_xtts.model.device.convolve import Bounds, Convolution
from livekit_xtts.model.device.runner import DeviceRunner
from livekit_xtts.model.device.vocoder import DeviceVocoder
from livekit_xtts.model.gates import SPEECHES, judge_gpt, judge_vocoder
from livekit_xtts.model.makers import DTYPES

LENGTH = 240


def attend(
    qkv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, heads: int, *, append: bool
) -> Tensor:
    """`attention.attend` in torch."""
    if append:
        append_(qkv, cache, slots, positions, heads)
    queries = qkv.view(len(qkv), 3, heads, -1)[:, 0, :, None]
    there = torch.arange(cache.shape[3], device=qkv.device) <= positions[:, None]
    keys, values = (torch.nan_to_num(part[slots]) for part in cache)
    mask = there[:, None, None]
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask).flatten(1)


def append_(qkv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, heads: int) -> None:
    """`attention.append` in torch."""
    keys, values = qkv.view(len(qkv), 3, heads, -1)[:, 1:].unbind(1)
    cache[0][slots, :, positions] = keys
    cache[1][slots, :, positions] = values


def add_norm(
    x: Tensor,
    y: Tensor | None,
    norm: tuple[Tensor, Tensor],
    dtype: torch.dtype,
    second: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """`attention.add_norm` in torch."""
    if y is not None:
        x += y
    result = F.layer_norm(x, x.shape[1:], *norm)
    if second is not None:
        result = F.layer_norm(result, x.shape[1:], *second)
    return result.to(dtype)


def _leaky(x: Tensor, slope: float) -> Tensor:
    return x if slope == 1.0 else F.leaky_relu(x, slope)


def convolve(
    self: Convolution,
    x: Tensor,
    bounds: Bounds,
    rate: int,
    *,
    slope_in: float = 1.0,
    slope_out: float = 1.0,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    into: Tensor | None = None,
) -> Tensor:
    """`Convolution` of a single signal, in torch."""
    count = int(bounds.total) * rate
    given = _leaky(x[:count], slope_in).float()
    taps, inputs, _ = self.weight.shape
    weight = self.weight.float()
    if self.up == 1:
        kernel, padding = weight.permute(2, 1, 0), self.dilation * (taps // 2)
        y = F.conv1d(given.T[None], kernel, self.bias, 1, padding, self.dilation)[0].T
    else:
        around = F.pad(given, (0, 0, 1, 1))
        sides = (slice(0, self.split), 0), (slice(self.split, None), 1)
        parts = [
            torch.cat((around[first : first + count], around[first + 1 : first + 1 + count]), 1)
            @ weight[:, :, columns].reshape(2 * inputs, -1)
            for columns, first in sides
        ]
        y = (torch.cat(parts, 1) + self.bias).reshape(count * self.up, self.outputs)
    y = _leaky(y if shift is None else y + shift[0], slope_out)
    for more in (residual, into):
        y = y if more is None else y + more[: len(y)].float()
    return y.to(x.dtype)


def sound(x: Tensor, weight: Tensor, bounds: Bounds, rate: int, slope: float) -> Tensor:
    """`convolve.sound` of a single signal, in torch."""
    given = F.leaky_relu(x[: int(bounds.total) * rate].float(), slope).T[None]
    return F.conv1d(given, weight.T[None], padding=weight.shape[0] // 2)[0, 0].tanh()


def replace_programs() -> None:
    """Have torch do what the programs do, in this process from now on."""
    attention.attend, attention.append, attention.add_norm = attend, append_, add_norm
    Convolution.__call__ = convolve  # type: ignore[method-assign]
    vars(device_vocoder)["sound"] = sound


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge both parts."""
    replace_programs()
    model = common.load_model(args)
    names = ("bf16", "fp16") if args.precision == "auto" else (args.precision,)
    table: list[dict[str, Any]] = []
    with torch.no_grad():
        for name in names:
            dtype = DTYPES[name]
            if not args.vocoder_only:
                runner = DeviceRunner(model.gpt, SPEECHES, LENGTH, "cpu", dtype)
                verdict, _ = judge_gpt(model.gpt, runner)
                table.append({"part": "gpt", "precision": name, **verdict.to_dict()})
                common.show(f"gpt {name}", table[-1])
            judged = judge_vocoder(model.vocoder, DeviceVocoder(model.vocoder, dtype))
            table.append({"part": "vocoder", "precision": name, **judged.to_dict()})
            common.show(f"vocoder {name}", table[-1])
    return {"model": args.model, "dtype": ", ".join(names), "table": table}


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--vocoder-only", action="store_true")
    arguments = made.parse_args()
    common.finish(arguments, "Roundings of a GPU", run(arguments))
