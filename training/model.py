"""The model that is trained, its auxiliary heads, and the pass through the transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.gpt import GPT
from training.data import CLOCK, FEATURES, clock
from training.settings import CODES, GATES, VOCABULARY

CONFIG = XttsConfig(
    gpt_layers=6,
    gpt_n_model_channels=256,
    gpt_n_heads=4,
    gpt_max_audio_tokens=305,
    gpt_max_text_tokens=200,
    gpt_number_text_tokens=VOCABULARY,
    gpt_start_text_token=3,
    gpt_stop_text_token=0,
    gpt_num_audio_tokens=CODES + 2,
    gpt_start_audio_token=CODES,
    gpt_stop_audio_token=CODES + 1,
    decoder_input_dim=256,
    d_vector_dim=64,
    decoder_upsample_initial_channel=192,
    decoder_resblock_kernel_sizes=(3, 7),
    decoder_resblock_dilation_sizes=((1, 3, 5),) * 2,
    conditioning_blocks=2,
    perceiver_depth=2,
    perceiver_heads=4,
    perceiver_head_dim=32,
    perceiver_ff_mult=2,
    speaker_encoder_layers=(1, 1, 1, 1),
    speaker_encoder_filters=(16, 16, 32, 32),
    speaker_encoder_attention=64,
    languages=("en",),
    temperature=0.1,
    top_k=5,
    top_p=0.8,
    repetition_penalty=1.0,
    gpt_cond_len=12,
    max_ref_len=12,
    char_limits=(("en", 150),),
)


class Heads(nn.Module):
    """Linear heads that exist in training alone.

    From the hidden state that predicts code i: the features of code i, those of code i - 1
    (which it has
    read), the clock, and the periods of code i as decisions (-1 or 1). What is linear in the hidden
    state is easy for the decoder to take up.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.current = nn.Linear(width, FEATURES)
        self.previous = nn.Linear(width, FEATURES)
        self.clock = nn.Linear(width, CLOCK)
        self.gates = nn.Linear(width, GATES)


def pad_to(length: int, step: int) -> int:
    """Lengths in steps, so that the kernels of few shapes are compiled."""
    return -(-length // step) * step


def trunk(
    gpt: GPT,
    x: Tensor,
    bias: Tensor,
    cache: list[tuple[Tensor, Tensor]] | None = None,
    attention: list[Tensor] | None = None,
) -> Tensor:
    """What GPT.forward computes, with plain products instead of a fused attention.

    The fused kernel's backward is slow on CPUs; the weights of two layers' attention are
    wanted as well.

    Args:
        gpt: The module whose weights are used.
        x: Embeddings (batch, time, width).
        bias: Added to the attention scores, (batch, 1, time, keys).
        cache: Keys and values of earlier positions per layer; extended in place.
        attention: Receives the attention weights of every layer.

    Returns:
        Hidden states after the final norms.
    """
    for index, block in enumerate(gpt.gpt.h):
        projected = F.linear(block.ln_1(x), block.attn.c_attn.weight.T, block.attn.c_attn.bias)
        q, k, v = (
            part.unflatten(-1, (block.attn.heads, -1)).transpose(1, 2)
            for part in projected.chunk(3, dim=-1)
        )
        if cache is not None:
            if index < len(cache):
                k, v = torch.cat((cache[index][0], k), 2), torch.cat((cache[index][1], v), 2)
                cache[index] = (k, v)
            else:
                cache.append((k, v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3) + bias.to(q.dtype)
        weights = scores.softmax(-1)
        if attention is not None:
            attention.append(weights)
        mixed = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(mixed, block.attn.c_proj.weight.T, block.attn.c_proj.bias)
        inner = F.linear(block.ln_2(x), block.mlp.c_fc.weight.T, block.mlp.c_fc.bias)
        inner = F.gelu(inner, approximate="tanh")
        x = x + F.linear(inner, block.mlp.c_proj.weight.T, block.mlp.c_proj.bias)
    return gpt.final_norm(gpt.gpt.ln_f(x))


def initialise(gpt: GPT) -> None:
    """Starting weights that learn fast at this size."""
    for name, parameter in gpt.named_parameters():
        if name.startswith("gpt.h") and name.endswith("c_proj.weight"):
            nn.init.normal_(parameter, std=0.02 / (2 * CONFIG.gpt_layers) ** 0.5)
        elif name.startswith("gpt.h") and name.endswith("weight") and "ln" not in name:
            nn.init.normal_(parameter, std=0.03)
        elif name in ("text_embedding.weight", "mel_embedding.weight"):
            nn.init.normal_(parameter, std=0.05)
        elif name.startswith("conditioning_encoder") and name.endswith("proj_out.weight"):
            nn.init.normal_(parameter, std=0.01)
    # The clock begins in the positions of the codes, so that the hidden states can show it exactly.
    with torch.no_grad():
        table = gpt.mel_pos_embedding.emb.weight
        table[:, :CLOCK] = 0.5 * clock(torch.arange(len(table)))
