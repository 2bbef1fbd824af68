"""The same weights give the same numbers as in the reference implementation (the `TTS` package).

Random weights make a hard case: their logits lie closer together than a trained model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from benchmarks.oracle import make_pair, relative, speak, speech_like, text_ids
from livekit_xtts.model.config import XttsConfig
from tests.model.conftest import Pair

TOLERANCE = 1e-4
TEXT_LENGTHS = (1, 2, 3, 5, 8, 13, 30, 60, 100, 200, 300, 400)


@dataclass(frozen=True)
class Spoken:
    """One text, spoken greedily by both.

    Attributes:
        ids: Text ids.
        theirs: The reference's codes, the stop code included.
        ours: Our codes.
        latents: Our hidden states behind the codes, shape (codes, width).
    """

    ids: Tensor
    theirs: list[int]
    ours: list[int]
    latents: Tensor


@pytest.fixture(scope="module")
def voice(pair: Pair) -> tuple[Tensor, Tensor]:
    """A voice in the shape that both take."""
    samples = torch.from_numpy(speech_like(3.0, 22050))
    return pair.ours.clone([(samples, 22050)])


@pytest.fixture(scope="module")
def spoken(pair: Pair, voice: tuple[Tensor, Tensor]) -> list[Spoken]:
    """Twelve texts of 1 to 400 ids, free-running to their stop codes."""
    result = []
    for length in TEXT_LENGTHS:
        ids = text_ids(length)
        codes, latents = speak(pair.ours, voice[0], ids)
        result.append(Spoken(ids, pair.theirs.greedy(voice[0], ids), codes, latents))
    return result


@pytest.mark.parametrize(
    ("rate", "seconds", "times"),
    [(22050, 9.3, 1), (24000, 2.1, 1), (44100, 5.0, 1), (16000, 0.4, 1), (48000, 3.2, 10)],
)
def test_a_voice_from_an_audio_file(
    pair: Pair,
    rate: int,
    seconds: float,
    times: int,
    tmp_path: Path,
) -> None:
    """The last one is longer than the 30 s that are used."""
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.tile(speech_like(seconds, rate), times), rate)
    samples, _ = soundfile.read(path, dtype="float32")
    theirs = pair.theirs.clone(path)
    ours = pair.ours.clone([(torch.from_numpy(samples), rate)])
    for our, their in zip(ours, theirs, strict=True):
        assert relative(our, their) <= TOLERANCE


def test_prompts(pair: Pair, voice: tuple[Tensor, Tensor]) -> None:
    for length in (1, 7, 400):
        theirs = pair.theirs.prompt(voice[0], text_ids(length))
        assert torch.equal(pair.ours.gpt.prompt(voice[0], text_ids(length)), theirs)


def test_free_running_codes_are_identical(spoken: list[Spoken], pair: Pair) -> None:
    stop = pair.ours.config.gpt_stop_audio_token
    assert [s.ours for s in spoken] == [s.theirs for s in spoken]
    assert all(s.theirs[-1] == stop for s in spoken)
    assert len({code for s in spoken for code in s.theirs}) >= 50
    assert max(len(s.theirs) for s in spoken) >= 100


def test_hidden_states(spoken: list[Spoken], pair: Pair, voice: tuple[Tensor, Tensor]) -> None:
    for text in spoken:
        theirs = pair.theirs.hidden(voice[0], text.ids, text.theirs)
        assert relative(text.latents, theirs) <= TOLERANCE


def test_the_full_pass_equals_the_steps(
    spoken: list[Spoken], pair: Pair, voice: tuple[Tensor, Tensor]
) -> None:
    gpt = pair.ours.gpt
    text = spoken[4]
    prompt = gpt.prompt(voice[0], text.ids)
    codes = gpt.code_embeddings(torch.tensor([text.ours[:-1]]), start_position=1)[0]
    hidden = gpt(torch.cat((prompt, codes))[None])[0, prompt.shape[0] - 1 :]
    assert relative(hidden, text.latents) <= TOLERANCE


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_waveforms(
    spoken: list[Spoken], pair: Pair, voice: tuple[Tensor, Tensor], speed: float
) -> None:
    texts = spoken if speed == 1.0 else [s for s in spoken if len(s.ours) >= 20][:3]
    for text in texts:
        hidden = pair.theirs.hidden(voice[0], text.ids, text.theirs)
        theirs = pair.theirs.waveform(hidden, voice[1], speed)
        ours = pair.ours.vocoder.decode(text.latents, voice[1], speed)
        assert relative(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("codes", [1, 2, 3, 603])
def test_waveforms_of_the_shortest_and_the_longest(pair: Pair, codes: int) -> None:
    generator = torch.Generator().manual_seed(codes)
    latents = torch.randn(codes, pair.ours.config.gpt_n_model_channels, generator=generator)
    speaker = torch.randn(pair.ours.config.d_vector_dim, generator=generator)
    theirs = pair.theirs.waveform(latents, speaker)
    ours = pair.ours.vocoder.decode(latents, speaker)
    assert relative(ours, theirs) <= TOLERANCE


def test_a_difference_would_show(pair: Pair, voice: tuple[Tensor, Tensor]) -> None:
    """Swapping two text ids moves the hidden states by far more than the tolerance."""
    ids = text_ids(30)
    swapped = ids.clone()
    swapped[[3, 4]] = ids[[4, 3]]
    _, ours = speak(pair.ours, voice[0], ids, most=8)
    _, other = speak(pair.ours, voice[0], swapped, most=8)
    assert (ours - other).abs().max() > 100 * TOLERANCE


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_full_size(tmp_path: Path) -> None:
    """Published sizes: a voice, six texts of 64 codes, beyond a difference teacher-forced."""
    pytest.importorskip("TTS", reason="the reference implementation is not installed")
    model, reference = make_pair(XttsConfig(), tmp_path, stop_bias=-30.0)
    (tmp_path / "model.pth").unlink()
    path = tmp_path / "voice.wav"
    soundfile.write(path, speech_like(9.0, 24000), 24000)
    samples, rate = soundfile.read(path, dtype="float32")
    latents, speaker = reference.clone(path)
    ours = model.clone([(torch.from_numpy(samples), rate)])
    assert relative(ours[0], latents) <= TOLERANCE
    assert relative(ours[1], speaker) <= TOLERANCE
    for length in (3, 10, 25, 60, 150, 400):
        ids = text_ids(length)
        theirs = reference.greedy(latents, ids, most=64)
        assert len(theirs) == 64
        codes, hidden = speak(model, latents, ids, forced=theirs, most=64)
        assert codes == theirs
        their_hidden = reference.hidden(latents, ids, theirs)
        assert relative(hidden, their_hidden) <= TOLERANCE
        audio = reference.waveform(their_hidden, speaker)
        assert relative(model.vocoder.decode(hidden, speaker), audio) <= TOLERANCE
