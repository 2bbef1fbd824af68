"""The reference implementation (the `TTS` package) as an oracle, at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.model.checkpoint import convert, create_random, load_model, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.gpt import TorchRunner
from livekit_xtts.model.xtts import XttsModel


class Reference:
    """An `Xtts` model of the `TTS` package.

    Args:
        config: Sizes; parts that the package makes in one size only are replaced by smaller ones.
    """

    def __init__(self, config: XttsConfig) -> None:
        from TTS.tts.configs.xtts_config import XttsArgs
        from TTS.tts.configs.xtts_config import XttsConfig as ReferenceConfig
        from TTS.tts.layers.tortoise.autoregressive import ConditioningEncoder
        from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
        from TTS.tts.layers.xtts.perceiver_encoder import PerceiverResampler
        from TTS.tts.models.xtts import Xtts

        known = XttsArgs().to_dict()
        values = {k: v for k, v in config.to_dict()["model_args"].items() if k in known}
        self.config = config
        self.model = Xtts(ReferenceConfig(model_args=XttsArgs(**values)))
        if config.gpt_n_model_channels != XttsConfig().gpt_n_model_channels:
            width = config.gpt_n_model_channels
            self.model.gpt.conditioning_encoder = ConditioningEncoder(
                80, width, attn_blocks=config.conditioning_blocks, num_attn_heads=config.gpt_n_heads
            )
            self.model.gpt.conditioning_perceiver = PerceiverResampler(
                dim=width,
                depth=config.perceiver_depth,
                num_latents=config.perceiver_latents,
                dim_head=config.perceiver_head_dim,
                heads=config.perceiver_heads,
            )
            decoder = HifiDecoder(
                decoder_input_dim=width,
                d_vector_dim=config.d_vector_dim,
                upsample_initial_channel_decoder=config.decoder_upsample_initial_channel,
            )
            decoder.speaker_encoder = self._small_speaker_encoder(decoder)
            self.model.hifigan_decoder = decoder

    def _small_speaker_encoder(self, decoder: Any) -> Any:
        from TTS.encoder.models.resnet import ResNetSpeakerEncoder

        config = self.config
        encoder = ResNetSpeakerEncoder(
            input_dim=config.speaker_encoder_mels,
            proj_dim=config.d_vector_dim,
            layers=list(config.speaker_encoder_layers),
            num_filters=list(config.speaker_encoder_filters),
            log_input=True,
            use_torch_spec=True,
            audio_config=decoder.speaker_encoder_audio_config,
        )
        pooled = config.speaker_encoder_filters[-1] * (config.speaker_encoder_mels // 8)
        hidden = config.speaker_encoder_attention
        encoder.attention = torch.nn.Sequential(
            torch.nn.Conv1d(pooled, hidden, kernel_size=1),
            torch.nn.ReLU(),
            torch.nn.BatchNorm1d(hidden),
            torch.nn.Conv1d(hidden, pooled, kernel_size=1),
            torch.nn.Softmax(dim=2),
        )
        return encoder

    def load(self, path: Path) -> None:
        """Take the weights of a `model.pth` with the package's own names, all of them."""
        self.model.load_state_dict(torch.load(path, weights_only=True)["model"], strict=True)
        self.model.eval()

    def save(self, path: Path) -> None:
        """Save the state dict as the package has it in memory, inference copies included."""
        torch.save({"model": self.model.state_dict()}, path)

    @torch.inference_mode()
    def clone(self, path: Path) -> tuple[Tensor, Tensor]:
        """Latents (32, width) and speaker embedding (d_vector_dim,) of an audio file."""
        config = self.config
        # The package reads files with torchaudio, which needs libraries of the system's FFmpeg.
        with patch("torchaudio.load", _load_audio):
            latents, speaker = self.model.get_conditioning_latents(
                audio_path=str(path),
                max_ref_length=config.max_ref_len,
                gpt_cond_len=config.gpt_cond_len,
                gpt_cond_chunk_len=config.gpt_cond_chunk_len,
            )
        return latents[0], speaker[0, :, 0]

    @torch.inference_mode()
    def prompt(self, latents: Tensor, text_ids: Tensor) -> Tensor:
        """Embeddings before the first step."""
        gpt = self.model.gpt
        gpt.compute_embeddings(latents[None], text_ids[None])
        start = torch.tensor([[gpt.start_audio_token]])
        first: Tensor = gpt.mel_embedding(start) + gpt.mel_pos_embedding(start)
        prefix: Tensor = gpt.gpt_inference.cached_prefix_emb
        return torch.cat((prefix, first), dim=1)[0]

    @torch.inference_mode()
    def greedy(self, latents: Tensor, text_ids: Tensor, most: int | None = None) -> list[int]:
        """Codes of a free run, the stop code included where it came."""
        limit = {} if most is None else {"max_new_tokens": most}
        codes = self.model.gpt.generate(
            latents[None],
            text_ids[None],
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            **limit,
        )
        result: list[int] = codes[0].tolist()
        return result

    @torch.inference_mode()
    def hidden(self, latents: Tensor, text_ids: Tensor, codes: list[int]) -> Tensor:
        """Hidden states that lead to each of the codes, as the package decodes them: (n, width)."""
        stride = self.config.gpt_code_stride_len
        hidden: Tensor = self.model.gpt(
            text_ids[None],
            torch.tensor([text_ids.numel()]),
            torch.tensor([codes]),
            torch.tensor([len(codes) * stride]),
            cond_latents=latents[None],
            return_latent=True,
        )
        return hidden[0]

    @torch.inference_mode()
    def waveform(self, hidden: Tensor, speaker: Tensor, speed: float = 1.0) -> Tensor:
        """Samples of hidden states (n, width)."""
        features = hidden[None]
        if speed != 1.0:
            features = torch.nn.functional.interpolate(
                features.transpose(1, 2), scale_factor=1.0 / speed, mode="linear"
            ).transpose(1, 2)
        audio: Tensor = self.model.hifigan_decoder(features, g=speaker[None, :, None])
        return audio.flatten()


def _load_audio(path: str) -> tuple[Tensor, int]:
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def write_random_model(config: XttsConfig, folder: Path, stop_bias: float, seed: int = 0) -> Path:
    """A random model as the reference saves it: `config.json` and `model.pth` in `folder`.

    Args:
        config: Sizes.
        folder: Where.
        stop_bias: Added to the bias of the stop code, so that utterances end.
        seed: Seeds the weights.
    """
    model = create_random(config, seed)
    model.gpt.mel_head.bias[config.gpt_stop_audio_token] += stop_bias
    source = folder / "source"
    save_model(model, source)
    del model
    config.to_json(folder / "config.json")
    convert(source, folder / "model.pth")
    (source / "model.safetensors").unlink()
    return folder


def speech_like(seconds: float, rate: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A glottal pulse train through moving resonances, with pauses and a little noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = np.zeros_like(time)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch
        gain = sum(
            np.exp(-(((frequency - centre * (1 + 0.2 * np.sin(rate_hz * time))) / 150) ** 2))
            for centre, rate_hz in ((500, 9), (1500, 13), (2600, 7))
        )
        sound += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3 * time) + 0.6, 0, None)
    sound = sound * syllables + 0.02 * generator.standard_normal(time.size)
    scaled: np.ndarray[Any, np.dtype[np.float32]] = (0.5 * sound / np.abs(sound).max()).astype(
        np.float32
    )
    return scaled


def make_pair(config: XttsConfig, folder: Path, stop_bias: float) -> tuple[XttsModel, Reference]:
    """Random weights, read and saved again by the reference, then loaded by us.

    Args:
        config: Sizes.
        folder: Gets `config.json` and the reference's `model.pth`.
        stop_bias: Added to the bias of the stop code.
    """
    write_random_model(config, folder, stop_bias)
    theirs = Reference(config)
    theirs.load(folder / "model.pth")
    theirs.save(folder / "model.pth")
    return load_model(folder), theirs


def text_ids(length: int) -> Tensor:
    """Random ids, seeded by the length."""
    return torch.randint(2, 6680, (length,), generator=torch.Generator().manual_seed(length))


def speak(
    model: XttsModel, latents: Tensor, ids: Tensor, forced: list[int] | None = None, most: int = 602
) -> tuple[list[int], Tensor]:
    """Best codes of our model, step by step; the stop code ends.

    Args:
        model: Ours.
        latents: Conditioning latents, shape (32, width).
        ids: Text ids.
        forced: Codes to feed in place of the best ones.
        most: Codes to make at most.

    Returns:
        The best code of every step, and the hidden states behind them, shape (codes, width).
    """
    runner = TorchRunner(model.gpt, slots=1)
    config = model.config
    prompt = model.gpt.prompt(latents, ids)
    # The audio start code is the first step's input.
    runner.prefill(0, prompt[:-1], 0)
    length, code = prompt.shape[0] - 1, config.gpt_start_audio_token
    codes: list[int] = []
    hidden = []
    for position in range(most):
        slot, fed, place, held = (torch.tensor([x]) for x in (0, code, position, length + position))
        latent, logits = runner.step(slot, fed, place, held)
        hidden.append(latent[0])
        codes.append(int(logits[0].argmax()))
        code = forced[position] if forced else codes[-1]
        if code == config.gpt_stop_audio_token:
            break
    return codes, torch.stack(hidden)


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)} differ")
    return float((ours - theirs).abs().max() / theirs.abs().max())
