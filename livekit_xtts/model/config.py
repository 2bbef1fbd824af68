"""The model's configuration: the published `config.json`, flattened and completed."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit_xtts.speech import LANGUAGES, MAX_TEXT_IDS, ModelError, Sampling, SpeechError

CHAR_LIMITS: tuple[tuple[str, int], ...] = (
    ("en", 250), ("de", 253), ("fr", 273), ("es", 239), ("it", 213), ("pt", 203),
    ("pl", 224), ("zh", 82), ("ar", 166), ("cs", 186), ("ru", 182), ("nl", 251),
    ("tr", 226), ("ja", 71), ("hu", 224), ("ko", 95), ("hi", 150),
)  # fmt: skip
"""Longest text per language, in characters, that XTTS-v2 was trained for."""

_TOP_LEVEL = (
    "languages", "temperature", "length_penalty", "repetition_penalty", "top_k", "top_p",
    "gpt_cond_len", "gpt_cond_chunk_len", "max_ref_len",
)  # fmt: skip


@dataclass(frozen=True)
class XttsConfig:
    """Sizes and defaults of an XTTS model; the defaults are the published XTTS-v2 ones.

    Names are those of the published `config.json`. The fields from `decoder_upsample_rates` to
    `speaker_encoder_attention` are constants of the reference implementation which that file does
    not name; files written by `to_json` hold them, so that a smaller model can be described.

    Attributes:
        decoder_input_dim: Width of the latents that the vocoder takes; the GPT's width.
        perceiver_latents: Conditioning positions at the start of every sequence.
        speaker_encoder_filters: Channels of the four stages of the speaker encoder.
        char_limits: Longest text per language, in characters, that the model was trained for.
    """

    gpt_max_audio_tokens: int = 605
    gpt_max_text_tokens: int = 402
    gpt_max_prompt_tokens: int = 70
    gpt_layers: int = 30
    gpt_n_model_channels: int = 1024
    gpt_n_heads: int = 16
    gpt_number_text_tokens: int = 6681
    gpt_start_text_token: int = 261
    gpt_stop_text_token: int = 0
    gpt_num_audio_tokens: int = 1026
    gpt_start_audio_token: int = 1024
    gpt_stop_audio_token: int = 1025
    gpt_code_stride_len: int = 1024
    input_sample_rate: int = 22050
    output_sample_rate: int = 24000
    output_hop_length: int = 256
    decoder_input_dim: int = 1024
    d_vector_dim: int = 512

    decoder_upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    decoder_upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    decoder_upsample_initial_channel: int = 512
    decoder_resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    decoder_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    conditioning_mels: int = 80
    conditioning_blocks: int = 6
    perceiver_depth: int = 2
    perceiver_latents: int = 32
    perceiver_heads: int = 8
    perceiver_head_dim: int = 64
    perceiver_ff_mult: int = 4
    speaker_encoder_mels: int = 64
    speaker_encoder_layers: tuple[int, ...] = (3, 4, 6, 3)
    speaker_encoder_filters: tuple[int, ...] = (32, 64, 128, 256)
    speaker_encoder_attention: int = 128

    languages: tuple[str, ...] = LANGUAGES
    temperature: float = 0.75
    length_penalty: float = 1.0
    repetition_penalty: float = 5.0
    top_k: int = 50
    top_p: float = 0.85
    gpt_cond_len: int = 30
    gpt_cond_chunk_len: int = 4
    max_ref_len: int = 30
    char_limits: tuple[tuple[str, int], ...] = CHAR_LIMITS

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            ModelError: Names the field and what it must be.
        """
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.default)
        width, heads = self.gpt_n_model_channels, self.gpt_n_heads
        hop = 1
        for rate in self.decoder_upsample_rates:
            hop *= rate
        checks = (
            (width % heads == 0, f"gpt_n_heads={heads} does not divide width {width}"),
            (
                self.decoder_input_dim == width,
                f"decoder_input_dim={self.decoder_input_dim} is not the GPT's width {width}",
            ),
            (
                hop == self.output_hop_length,
                f"decoder_upsample_rates multiply to {hop}, not to output_hop_length="
                f"{self.output_hop_length}",
            ),
            (
                len(self.decoder_upsample_rates) == len(self.decoder_upsample_kernel_sizes),
                "decoder_upsample_rates and …_kernel_sizes differ in length",
            ),
            (
                len(self.decoder_resblock_kernel_sizes)
                == len(self.decoder_resblock_dilation_sizes),
                "decoder_resblock_kernel_sizes and …_dilation_sizes differ in length",
            ),
            (
                len(self.speaker_encoder_layers) == len(self.speaker_encoder_filters) == 4,
                "speaker_encoder_layers and speaker_encoder_filters need four entries each",
            ),
            (
                max(self.gpt_start_audio_token, self.gpt_stop_audio_token)
                < self.gpt_num_audio_tokens,
                "gpt_start_audio_token and gpt_stop_audio_token must be below gpt_num_audio_tokens",
            ),
        )
        for fits, message in checks:
            if not fits:
                raise ModelError(f"the configuration does not fit together: {message}")

    @property
    def max_codes(self) -> int:
        """Most audio codes of one utterance (602 for XTTS-v2), the stop code not counted."""
        return self.gpt_max_audio_tokens - 3

    @property
    def max_text_ids(self) -> int:
        """Most text ids of one utterance (400 for XTTS-v2), the language tag included."""
        return min(MAX_TEXT_IDS, self.gpt_max_text_tokens)

    @property
    def max_positions(self) -> int:
        """Longest sequence: conditioning, start + text ids + stop, start code, codes."""
        text = self.gpt_max_text_tokens
        return self.perceiver_latents + text + 2 + 1 + self.max_codes

    @property
    def sampling(self) -> Sampling:
        """The checkpoint's own sampling defaults."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
        )

    @classmethod
    def small(cls, **changes: Any) -> XttsConfig:
        """A tiny model of the same structure, for tests: builds in well under a second.

        Args:
            **changes: Fields to set differently.
        """
        sizes: dict[str, Any] = {
            "gpt_layers": 3,
            "gpt_n_model_channels": 64,
            "gpt_n_heads": 4,
            "decoder_input_dim": 64,
            "d_vector_dim": 32,
            "decoder_upsample_initial_channel": 32,
            "conditioning_blocks": 2,
            "perceiver_heads": 2,
            "perceiver_head_dim": 16,
            "speaker_encoder_layers": (1, 1, 1, 1),
            "speaker_encoder_filters": (8, 8, 16, 16),
            "speaker_encoder_attention": 16,
        }
        return cls(**(sizes | changes))

    @classmethod
    def from_json(cls, path: str | Path) -> XttsConfig:
        """Read a published `config.json`, or one written by `to_json`.

        Args:
            path: The file.

        Raises:
            ModelError: The file is missing, is not JSON, describes another model, or a value has
                the wrong type; the message names it.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(
                f"no {path.name} in {path.parent}: give the folder of an XTTS-v2 model"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ModelError(f"{path} cannot be read as JSON: {error}") from error
        return cls.from_dict(data, name=str(path))

    @classmethod
    def from_dict(cls, data: Any, name: str = "the configuration") -> XttsConfig:
        """Build from the parsed content of a `config.json`.

        Args:
            data: The parsed JSON.
            name: What messages call it.

        Raises:
            ModelError: As for `from_json`.
        """
        if not isinstance(data, dict) or data.get("model") != "xtts":
            found = data.get("model") if isinstance(data, dict) else type(data).__name__
            raise ModelError(f'{name} is not of an XTTS model: "model" is {found!r}, not "xtts"')
        arguments = data.get("model_args")
        if not isinstance(arguments, dict):
            raise ModelError(f'{name} has no "model_args", where the sizes of the model are')
        if not arguments.get("gpt_use_perceiver_resampler", False):
            raise ModelError(
                f"{name} describes XTTS version 1 (gpt_use_perceiver_resampler is not true):"
                " only XTTS-v2 is supported"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in arguments.items() if key in known}
        values |= {key: data[key] for key in _TOP_LEVEL if key in data}
        try:
            # A null stands for "the published value" (the start and stop text ids, say).
            return cls(**{k: _as_tuple(v) for k, v in values.items() if v is not None})
        except SpeechError as error:
            raise ModelError(f"{name}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json` which `from_json` reads back to an equal value."""
        values = dataclasses.asdict(self)
        arguments = {key: value for key, value in values.items() if key not in _TOP_LEVEL}
        return {
            "model": "xtts",
            "audio": {
                "sample_rate": self.input_sample_rate,
                "output_sample_rate": self.output_sample_rate,
            },
            "model_args": arguments
            | {
                "gpt_use_perceiver_resampler": True,
                "cond_d_vector_in_each_upsampling_layer": True,
            },
        } | {key: values[key] for key in _TOP_LEVEL}

    def to_json(self, path: str | Path) -> None:
        """Write a `config.json`.

        Args:
            path: The file to write.
        """
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def _as_tuple(value: Any) -> Any:
    """Lists of JSON as tuples, at every depth, so that the configuration stays hashable."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _check_type(name: str, value: Any, default: Any) -> None:
    if isinstance(default, tuple):
        fits = isinstance(value, tuple) and len(value) > 0
        expected = "a list"
    elif isinstance(default, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        expected = "a number"
    else:
        least = 0 if name.endswith("_token") or name == "top_k" else 1
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        expected = f"a whole number from {least}"
    if not fits:
        raise ModelError(f"{name}={value!r} must be {expected}")
