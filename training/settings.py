"""What every stage shares: folders, the teacher's voices, sizes, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from training.espeak import TeacherVoice

Split = Literal["train", "dev", "heldout"]

ROOT = Path(__file__).parent
WORK = ROOT / "work"

# Two pairs differ in pitch alone: james and henry, clara and alice. Pitches keep clear of 100 Hz
# and below,
# where one period more or less within a code (see pitch.py) would be a large step.
VOICES = (
    TeacherVoice("james", "en-us+m3", 62, 40),
    TeacherVoice("henry", "en-us+m3", 92, 40),
    TeacherVoice("oscar", "en-us+m2", 78, 40),
    TeacherVoice("victor", "en-us+m7", 99, 40),
    TeacherVoice("clara", "en-us+f2", 38, 40),
    TeacherVoice("alice", "en-us+f2", 68, 40),
    TeacherVoice("nora", "en-us+f4", 52, 40),
    TeacherVoice("ruby", "en-us+f5", 72, 40),
)

CODE_SAMPLES = 1024  # at 22,050 Hz
FRAME_SAMPLES = 256
CODES = 1024
VOCABULARY = 320
CEPSTRA = 24
MIN_PERIODS, MAX_PERIODS = 4, 14  # periods of the voice within one code
GATES = MAX_PERIODS - MIN_PERIODS  # is a code's count of periods at least 5, …, 14?
