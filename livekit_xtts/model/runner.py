"""One-step decoding of many sequences at once, over key-value slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.config import XttsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livekit_xtts.model.gpt import GPT

PIECE = 32
"""Positions of one prefill piece: as many as a voice's conditioning has."""

_ROW_STEP = 4
_CHECKS = 3


class GptRunner(Protocol):
    """What the engine drives: the GPT over key-value slots.

    Attributes:
        slots: Sequences that can be held at once.
        length: Positions of each.
        device: Where inputs and results are.
        config: Sizes.
        rows: Row counts of a step, ascending; a step pads to the next one. A row's result is the
            same in each of them, whatever the other rows hold.
        piece: Positions that a prefill works on at once; a long one may be split at multiples.
    """

    slots: int
    length: int
    device: torch.device
    config: XttsConfig
    rows: tuple[int, ...]
    piece: int

    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """Feed embeddings (n, width) as positions start … start + n; hidden states (n, width).

        Splitting a prompt over several calls gives the same bits where each `start` is the first
        one plus a multiple of `piece`.
        """
        ...

    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feed one code to each of some slots.

        Args:
            slots: Different slots, shape (rows,), long.
            codes: Code to feed to each: the start code first, then what was drawn.
            code_positions: Its position among the codes; the start code has 0.
            lengths: Positions that each slot holds; the step writes the next one.

        Returns:
            Latents for the vocoder (rows, width) and float32 logits of the next code (rows, 1026).
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits (n, 1026) of hidden states (n, width) that a prefill gave."""
        ...

    def export_prefix(self, slot: int, length: int) -> Tensor:
        """A copy of the keys and values of a slot's first positions."""
        ...

    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """Set a slot's first positions to keys and values that `export_prefix` gave."""
        ...


@runtime_checkable
class BatchRunner(GptRunner, Protocol):
    """A runner to which positions of prompts are rows: any number of prompts is read together."""

    def with_slots(self, gpt: GPT, slots: int) -> BatchRunner:
        """Another one of the same model and precision, with so many slots."""
        ...

    def tokens(self, ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """What a prompt feeds after its voice: text between its marks, and the start code.

        Args:
            ids: Text ids without start and stop.

        Returns:
            For each position what is fed and its place, as `read` takes them.
        """
        ...

    def read(self, slots: Tensor, positions: Tensor, fed: Tensor, places: Tensor) -> Tensor:
        """Feed positions of any prompts.

        Args:
            slots: Slot of each, shape (rows,), long; so are the others.
            positions: Position of each in its slot. All before it are in the slot, or are rows of
                this call as well.
            fed: What is fed, as `tokens` gives it.
            places: Its place, as `tokens` gives it.

        Returns:
            Hidden states, shape (rows, width), float32.
        """
        ...


class KVCache:
    """Keys and values of every slot.

    Attributes:
        data: Shape (layers, 2, slots, heads, length, head_dim). Memory that no sequence has
            reached is not touched, so on a CPU it is not resident either.
    """

    def __init__(
        self, config: XttsConfig, slots: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Allocate.

        Args:
            config: Sizes.
            slots: Sequences.
            length: Positions of each.
            device: Where.
            dtype: Of keys and values.
        """
        heads = config.gpt_n_heads
        head_dim = config.gpt_n_model_channels // heads
        self.data = torch.empty(
            (config.gpt_layers, 2, slots, heads, length, head_dim), device=device, dtype=dtype
        )


class BlockWeights(NamedTuple):
    """A block's weights as plain tensors: no module lookups in the step."""

    ln_1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    ln_2: tuple[Tensor, Tensor]
    fc: tuple[Tensor, Tensor]
    proj: tuple[Tensor, Tensor]


class TorchRunner:
    """`GptRunner` in plain torch.

    On a CPU a row's result cannot depend on its company: matrix products take a number of rows out
    of `rows`, for which construction has checked, with this model's weights on this machine, that
    every row comes out the same bits at any place and in any of them; attention runs row by row
    over that row's own length; prefill works on one sequence in fixed pieces. Where no number of
    rows passes the check, rows are stepped one at a time. Elsewhere attention is one masked call
    over all slots' full length, without synchronisation, and rows are as independent as the
    device's kernels are.
    """

    def __init__(
        self,
        gpt: GPT,
        slots: int = 8,
        length: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Allocate slots; weights are shared with `gpt` where device and dtype are the same.

        Args:
            gpt: The model.
            slots: Sequences that can be held at once.
            length: Positions of each; None for the longest that the model allows.
            device: Where to run.
            dtype: Of weights, keys and values.
        """
        self.config = config = gpt.config
        self.slots = slots
        self.length = min(length or config.max_positions, config.max_positions)
        self.device = torch.device(device)
        self.dtype = dtype
        self.piece = PIECE
        self.cache = KVCache(config, slots, self.length, self.device, dtype)
        if self.device.type != "cpu":
            # There, what is masked is multiplied too: by nothing, which leaves NaN what it is.
            self.cache.data.zero_()
        self._width = config.gpt_n_model_channels
        self._heads = config.gpt_n_heads

        state = gpt.state_dict()

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return self._cast(state[f"{name}.weight"]), self._cast(state[f"{name}.bias"])

        parts = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
        self._layers = [
            BlockWeights(*(pair(f"gpt.h.{index}.{part}") for part in parts))
            for index in range(config.gpt_layers)
        ]
        self._norms = (pair("gpt.ln_f"), pair("final_norm"))
        self._head = pair("mel_head")
        self._codes = self._cast(state["mel_embedding.weight"])
        self._positions = self._cast(state["mel_pos_embedding.emb.weight"])
        self.rows = self._independent_rows()

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=self.device, dtype=self.dtype)

    def _independent_rows(self) -> tuple[int, ...]:
        """Row counts, up to one for all slots, whose rows come out the same bits everywhere."""
        most = -(-self.slots // _ROW_STEP) * _ROW_STEP
        candidates = tuple(range(_ROW_STEP, most + 1, _ROW_STEP))
        if self.device.type != "cpu":
            return candidates
        generator = torch.Generator().manual_seed(0)
        samples = torch.randn(_CHECKS * most, self._width, generator=generator).to(self.dtype)
        expected = self._row_probe(samples, _ROW_STEP)
        passed = []
        for rows in candidates:
            # Shifts put every row at other places, beside other rows.
            shifts = range(0, 2 * rows + 1, max(1, rows // 4) | 1)
            same = all(
                torch.equal(self._row_probe(samples.roll(shift, 0), rows), expected.roll(shift, 0))
                for shift in shifts
            )
            if same:
                passed.append(rows)
        return tuple(passed) or (1,)

    def _row_probe(self, samples: Tensor, rows: int) -> Tensor:
        """Everything that a step does to rows together, for samples in groups of `rows`."""
        layer = self._layers[0]
        outputs = []
        for group in torch.split(samples, rows):
            count = group.shape[0]
            x = F.pad(group, (0, 0, 0, rows - count))
            qkv = self._queries(layer, x)
            x = self._finish(layer, x, qkv[:, : self._width].contiguous())
            hidden, logits = self._output(x)
            outputs.append(torch.cat((qkv, hidden, logits.to(x.dtype)), dim=1)[:count])
        return torch.cat(outputs)

    def _queries(self, layer: BlockWeights, x: Tensor) -> Tensor:
        weight, bias = layer.qkv
        return torch.addmm(bias, F.layer_norm(x, (self._width,), *layer.ln_1), weight)

    def _finish(self, layer: BlockWeights, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of a block, after the attention itself."""
        weight, bias = layer.out
        x = x + torch.addmm(bias, attended, weight)
        weight, bias = layer.fc
        y = torch.addmm(bias, F.layer_norm(x, (self._width,), *layer.ln_2), weight)
        weight, bias = layer.proj
        return x + torch.addmm(bias, F.gelu(y, approximate="tanh"), weight)

    def _final(self, x: Tensor) -> Tensor:
        for norm in self._norms:
            x = F.layer_norm(x, (self._width,), *norm)
        return x

    def _output(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self._final(x)
        return hidden, F.linear(hidden, *self._head).float()

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """See `GptRunner.logits`. Each row is computed alone."""
        return torch.cat([F.linear(row, *self._head).float() for row in torch.split(hidden, 1)])

    @torch.inference_mode()
    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """See `GptRunner.prefill`."""
        embeddings = embeddings.to(device=self.device, dtype=self.dtype)
        hidden = []
        for x in torch.split(embeddings, self.piece):
            stop = start + x.shape[0]
            mask = torch.ones(x.shape[0], stop, dtype=torch.bool, device=self.device).tril(start)
            for index, layer in enumerate(self._layers):
                q, k, v = (
                    part.transpose(0, 1)
                    for part in self._queries(layer, x).view(len(x), 3, self._heads, -1).unbind(1)
                )
                keys, values = self.cache.data[index, :, slot].unbind(0)
                keys[:, start:stop] = k
                values[:, start:stop] = v
                attended = F.scaled_dot_product_attention(
                    q[None], keys[None, :, :stop], values[None, :, :stop], attn_mask=mask
                )[0]
                x = self._finish(layer, x, attended.transpose(0, 1).flatten(1))
            hidden.append(self._final(x))
            start = stop
        return torch.cat(hidden)

    @torch.inference_mode()
    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `GptRunner.step`."""
        count, most = slots.shape[0], self.rows[-1]
        if count > most:
            inputs = (slots, codes, code_positions, lengths)
            groups = zip(*(torch.split(values, most) for values in inputs), strict=True)
            parts = [self.step(*group) for group in groups]
            return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        rows = next(rows for rows in self.rows if rows >= count)
        x = self._codes[codes] + self._positions[code_positions]
        if rows > count:
            x = F.pad(x, (0, 0, 0, rows - count))
        hidden, logits = self._output(
            self._step_by_row(x, slots.tolist(), lengths.tolist())
            if self.device.type == "cpu"
            else self._step_masked(x, slots, lengths)
        )
        return hidden[:count], logits[:count]

    def _step_by_row(self, x: Tensor, slots: list[int], lengths: list[int]) -> Tensor:
        """All blocks, attention row by row over exactly its own positions."""
        heads, head_dim = self._heads, self._width // self._heads
        attend = F.scaled_dot_product_attention
        attended = torch.zeros_like(x)
        outputs = attended.view(-1, heads, head_dim)
        caches = [
            (row, self.cache.data[:, :, slot, :, : length + 1], length)
            for row, (slot, length) in enumerate(zip(slots, lengths, strict=True))
        ]
        for index, layer in enumerate(self._layers):
            qkv = self._queries(layer, x).view(-1, 3, 1, heads, head_dim)
            for row, cache, length in caches:
                pair = cache[index]
                pair[:, :, length] = qkv[row, 1:, 0]
                kv = pair[:, None]
                query = qkv[row, 0].transpose(0, 1)[None]
                outputs[row] = attend(query, kv[0], kv[1])[0, :, 0]
            x = self._finish(layer, x, attended)
        return x

    def _step_masked(self, x: Tensor, slots: Tensor, lengths: Tensor) -> Tensor:
        """All blocks, attention over the full length of the slots behind a mask."""
        heads, count = self._heads, slots.shape[0]
        positions = torch.arange(self.length, device=self.device)
        mask = (positions <= lengths[:, None])[:, None, None]
        for index, layer in enumerate(self._layers):
            qkv = self._queries(layer, x)
            q, k, v = qkv[:count].view(count, 3, heads, -1).unbind(1)
            keys, values = self.cache.data[index]
            keys[slots, :, lengths] = k
            values[slots, :, lengths] = v
            attended = F.scaled_dot_product_attention(
                q[:, :, None], keys[slots], values[slots], attn_mask=mask
            ).flatten(1)
            x = self._finish(layer, x, F.pad(attended, (0, 0, 0, x.shape[0] - count)))
        return x

    @torch.inference_mode()
    def export_prefix(self, slot: int, length: int) -> Tensor:
        """See `GptRunner.export_prefix`; shape (layers, 2, heads, length, head_dim)."""
        return self.cache.data[:, :, slot, :, :length].clone()

    @torch.inference_mode()
    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """See `GptRunner.copy_prefix`."""
        self.cache.data[:, :, slot, :, : prefix.shape[3]] = prefix
