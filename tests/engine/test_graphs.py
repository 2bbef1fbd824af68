"""Replayed steps: padding, fixed tensors and fallback, with a stand-in for the capture."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from livekit_xtts.engine import graphs
from livekit_xtts.engine.graphs import GraphedStepper, buckets, cuda_capture
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.step import Rows, Stepper, pick_bucket
from livekit_xtts.model.runner import TorchRunner
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import Sampling

SLOTS = 6


def stand_in(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Runs the work again at each replay and writes to where the captured result was."""
    result = work().clone()
    return lambda: (result.copy_(work()), None)[1], result


def fill(stepper: Stepper) -> None:
    """A prompt and a first code for every slot."""
    runner = stepper.runner
    for slot in range(SLOTS):
        generator = torch.Generator().manual_seed(slot)
        prompt = torch.randn(9 + slot, 64, generator=generator)
        stepper.sampler.assign(slot, Sampling(), seed=slot)
        hidden = runner.prefill(slot, prompt, 0)
        stepper.first([slot], hidden[-1:])


def steppers(model: XttsModel, make: Any, device: str = "cpu") -> Stepper:
    runner = TorchRunner(model.gpt.to(device), SLOTS + 1, 64, device)
    sampler = Sampler(SLOTS + 1, 1026, 40, start_code=1024, stop_code=1025, device=device)
    made: Stepper = make(runner, sampler, 40)
    fill(made)
    return made


def walk(stepper: Stepper) -> list[list[int]]:
    """Steps of changing company."""
    position = dict.fromkeys(range(SLOTS), 1)
    codes: list[list[int]] = [[] for _ in range(SLOTS)]
    companies = [(0, 1, 2, 3, 4, 5), (3,), (5, 1), (0, 1, 2, 3, 4), (2, 4, 0), (3, 5)] * 3
    for slots in companies:
        rows = Rows(
            slots,
            tuple(position[slot] for slot in slots),
            tuple(8 + slot + position[slot] for slot in slots),
        )
        drawn = stepper.launch(rows).wait().tolist()
        for slot, code in zip(slots, drawn, strict=True):
            codes[slot].append(code)
            position[slot] += 1
    return codes


@torch.no_grad()
def test_replayed_steps_equal_plain_ones(small_model: XttsModel) -> None:
    plain = steppers(small_model, Stepper)
    graphed = steppers(
        small_model,
        lambda *parts: GraphedStepper(*parts, sizes=buckets(SLOTS), capture=stand_in),
    )
    assert graphed.captured == (4, 8)  # type: ignore[attr-defined]
    assert walk(plain) == walk(graphed)
    assert torch.equal(plain.latents(3, 0, 8), graphed.latents(3, 0, 8))


@torch.no_grad()
def test_a_capture_that_fails_leaves_plain_steps(
    small_model: XttsModel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    graphed = steppers(
        small_model, lambda *parts: GraphedStepper(*parts, sizes=buckets(SLOTS), capture=fail)
    )
    assert graphed.captured == ()  # type: ignore[attr-defined]
    assert "without CUDA graphs" in caplog.text
    assert walk(graphed) == walk(steppers(small_model, Stepper))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_real_graphs_equal_plain_steps(small_model: XttsModel) -> None:
    plain = steppers(small_model, Stepper, "cuda")
    graphed = steppers(
        small_model,
        lambda *parts: GraphedStepper(*parts, sizes=buckets(SLOTS), capture=cuda_capture()),
        "cuda",
    )
    assert graphed.captured == (4, 8)  # type: ignore[attr-defined]
    assert walk(plain) == walk(graphed)


def test_buckets_hold_every_number_of_rows() -> None:
    for slots in (1, 4, 7, 8, 33, 1000):
        sizes = buckets(slots)
        assert list(sizes) == sorted(sizes)
        assert all(rows <= pick_bucket(sizes, rows) for rows in range(1, slots + 1))
    with pytest.raises(ValueError, match="9 rows"):
        pick_bucket((4, 8), 9)


class StandInCuda:
    """What `cuda_capture` needs of `torch.cuda`, noting what is done on which stream."""

    def __init__(self) -> None:
        self.stream_now = "current"
        self.handles = 0
        self.captured: list[tuple[str, int]] = []
        self.broken = False

    def graph_pool_handle(self) -> int:
        self.handles += 1
        return self.handles

    def Stream(self) -> Any:
        return SimpleNamespace(name="own", wait_stream=lambda other: None)

    def current_stream(self) -> Any:
        return SimpleNamespace(name=self.stream_now, wait_stream=lambda other: None)

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream.name
        try:
            yield
        finally:
            self.stream_now = before

    class CUDAGraph:
        def replay(self) -> None:
            pass

    @contextmanager
    def graph(self, graph: Any, pool: int, stream: Any, **options: Any) -> Iterator[None]:
        assert stream.name == self.stream_now == "own"
        if self.broken:
            raise RuntimeError("capture ended badly")
        self.captured.append((stream.name, pool))
        yield


def test_captures_share_a_stream_and_a_pool_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = StandInCuda()
    monkeypatch.setattr(graphs.torch, "cuda", cuda)
    capture = cuda_capture()
    runs: list[str] = []

    def work() -> Tensor:
        runs.append(cuda.stream_now)
        return torch.zeros(1)

    first, second = capture(work), capture(work)
    assert cuda.captured == [("own", 1), ("own", 1)]
    assert set(runs) == {"own"} and len(runs) == 8
    del first, second
    gc.collect()
    capture(work)
    assert cuda.captured[-1] == ("own", 2), "a pool that nobody uses cannot be joined"
    cuda.broken = True
    with pytest.raises(RuntimeError, match="badly"):
        capture(work)
    assert cuda.stream_now == "current", "whoever fails leaves the stream"
