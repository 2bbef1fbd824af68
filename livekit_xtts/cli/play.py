"""Gap-free playback: a FIFO of samples that the sound device's own thread empties."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from livekit_xtts.audio import FADE_OUT_S, fade_out
from livekit_xtts.speech import SAMPLE_RATE, Float32, SpeechError

FADING_S = 0.1
"""Longest wait for the device to take the end of what it plays."""

INSTALL = "pip install 'livekit-xtts[play]' (and on Linux the library libportaudio2)"


class PlaybackError(SpeechError):
    """There is no way to play sound here; the message says what is missing."""


class Player:
    """Plays what is pushed, in order and without gaps between pieces.

    The device asks for samples when it needs them; what is not there yet is silence, counted in
    `underruns` while more is to come.

    Args:
        sample_rate: Samples per second.

    Raises:
        PlaybackError: No sounddevice package, no PortAudio, or no device.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        sounddevice = _sounddevice()
        self.underruns = 0
        self._rate = sample_rate
        self._lock = threading.Lock()
        self._pieces: deque[Float32] = deque()
        self._begun = False
        self._complete = False
        self._silent = threading.Event()
        try:
            self._stream = sounddevice.OutputStream(
                samplerate=sample_rate,
                channels=1,
                dtype="float32",
                callback=self._fill,
                finished_callback=self._silent.set,
            )
            self._stop = sounddevice.CallbackStop
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise PlaybackError(f"no sound device can be used ({error}): give -o FILE") from error

    def push(self, audio: Float32) -> None:
        """Queue samples; returns at once."""
        with self._lock:
            if audio.size:
                self._pieces.append(audio)
                self._begun = True

    def finish(self) -> None:
        """Wait until everything has been heard."""
        with self._lock:
            self._complete = True
        self._silent.wait()

    def close(self) -> None:
        """Silence now, without a click, and release the device."""
        with self._lock:
            rest = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
            self._pieces.clear()
            self._complete = True
            if rest.size:
                self._pieces.append(fade_out(rest[: round(FADE_OUT_S * self._rate)]))
        if rest.size:
            self._silent.wait(FADING_S)  # a device that asks for nothing is not waited for
        self._stream.abort()
        self._stream.close()

    def _fill(self, out: Any, frames: int, clock: Any, flags: Any) -> None:
        """Called by the device's thread for the next `frames` samples, shape (frames, 1)."""
        filled = 0
        with self._lock:
            while filled < frames and self._pieces:
                piece = self._pieces.popleft()
                taken = min(frames - filled, piece.size)
                out[filled : filled + taken, 0] = piece[:taken]
                filled += taken
                if taken < piece.size:
                    self._pieces.appendleft(piece[taken:])
            complete = self._complete and not self._pieces
        if filled < frames:
            out[filled:] = np.float32(0)
            if complete:
                raise self._stop
            self.underruns += self._begun


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise PlaybackError(f"playing needs sounddevice: {INSTALL}, or give -o FILE") from error
    except OSError as error:  # PortAudio itself is missing
        raise PlaybackError(f"{error}: {INSTALL}, or give -o FILE") from error
    return sounddevice
