"""How a text stream is cut: what the first segment waits for, and what must never happen.

Replies and traps (numbers, abbreviations, addresses, …) are streamed at 20 tokens a second on a
simulated clock. Run `python -m benchmarks.segments --json PATH [--quick]`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from livekit_xtts.text.data.cuts import CUTS
from livekit_xtts.text.languages import CHAR_LIMITS
from livekit_xtts.text.segment import Segment, Segmenter

TOKENS_PER_SECOND = 20
FOLDER = Path(__file__).parent
CARRIERS: dict[str, tuple[str, str]] = {
    "en": (
        "They told me about {} and I was glad",
        "We went over the whole plan, and then {} came up.",
    ),
    "de": (
        "Man sprach über {} und alle waren froh",
        "Wir gingen den Plan durch, und dann kam {} dran.",
    ),
    "fr": (
        "On a parlé de {} et tous étaient contents",
        "Nous avons revu le plan, puis {} est venu.",
    ),
    "es": (
        "Se habló de {} y todos se alegraron",
        "Revisamos todo el plan, y luego {} apareció.",
    ),
    "it": (
        "Si è parlato di {} e tutti erano contenti",
        "Abbiamo rivisto il piano, e poi {} è arrivato.",
    ),
    "pt": (
        "Falou-se de {} e todos gostaram muito",
        "Revimos todo o plano, e depois {} apareceu.",
    ),
    "pl": (
        "Mówiono o {} i wszyscy byli zadowoleni",
        "Omówiliśmy cały plan, a potem {} się pojawiło.",
    ),
    "tr": (
        "Herkes {} hakkında konuştu ve sevindi",
        "Bütün planı gözden geçirdik, sonra {} geldi.",
    ),
    "ru": (
        "Говорили про {} и все были рады",
        "Мы обсудили весь план, а потом {} появилось.",
    ),
    "nl": (
        "Men sprak over {} en iedereen was blij",
        "We bespraken het hele plan, en toen kwam {} aan bod.",
    ),
    "cs": (
        "Mluvilo se o {} a všichni měli radost",
        "Prošli jsme celý plán, a pak přišlo {} na řadu.",
    ),
    "ar": (
        "تحدثوا عن {} وكان الجميع سعداء",
        "راجعنا الخطة كلها، ثم جاء {} بعد ذلك.",
    ),
    "zh-cn": (
        "他们谈到了{}大家都很高兴",
        "我们看了整个计划，然后说到{}就结束了。",
    ),
    "hu": (
        "Beszéltek arról hogy {} és mindenki örült",
        "Átnéztük a tervet, aztán {} következett.",
    ),
    "ko": (
        "그들은 {} 이야기를 했고 모두 기뻐했다",
        "우리는 계획을 모두 보았고, 그다음 {} 나왔다.",
    ),
    "ja": (
        "みんなで{}の話をしてとても喜びました",
        "計画を全部見て、それから{}の番になりました。",
    ),
    "hi": (
        "सबने {} की बात की और खुश हुए",
        "हमने पूरी योजना देखी, फिर {} की बारी आई।",
    ),
}
"""Sentences around a trap: one that leaves early, one in which it comes late."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed text and its segments.

    Attributes:
        segments: In order.
        first_s: Simulated seconds until the first segment left.
    """

    segments: tuple[Segment, ...]
    first_s: float


def tokens(text: str) -> Iterator[str]:
    """A text in pieces like a language model's: short words whole, marks apart."""
    yield from re.findall(r"\s?[^\W\d_]{1,6}|\s?\d{1,3}|\s*[^\w\s]+|\s+|_", text)


def stream(language: str, pieces: Sequence[str], first: int | None = 8) -> Stream:
    """Push pieces at `TOKENS_PER_SECOND` and note when the first segment leaves."""
    segmenter = Segmenter(language, first=first)
    segments: list[Segment] = []
    first_s = math.nan
    for index, piece in enumerate(pieces, 1):
        segments += segmenter.push(piece)
        if segments and math.isnan(first_s):
            first_s = index / TOKENS_PER_SECOND
    segments += segmenter.flush()
    if math.isnan(first_s):
        first_s = len(pieces) / TOKENS_PER_SECOND
    return Stream(tuple(segments), first_s)


def words(language: str, text: str) -> float:
    """Words of a text; where words are not spaced, by the language's average length."""
    unit = CUTS[language].word_characters
    wide = sum(1 for c in text if unit and "\u3040" <= c <= "\u9fff" and c.isalnum())
    rest = re.sub(r"[\u3040-\u9fff]", " ", text) if unit else text
    spaced = sum(any(c.isalnum() for c in word) for word in rest.split())
    return spaced + (wide / unit if unit else 0.0)


def read(name: str) -> list[tuple[str, str]]:
    """The rows of one of the tables beside this file: language and text."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t", 1) for line in lines if line and not line.startswith("#"))
    return [(language, text.replace("\\n", "\n")) for language, text in rows]


def cuts_inside(segments: Sequence[Segment], start: int, end: int) -> int:
    """How many segments end inside of a span of the text."""
    position = count = 0
    for segment in segments[:-1]:
        position += len(segment.text)
        count += start < position < end
    return count


def chunkings(text: str) -> list[list[str]]:
    """A text as tokens, as single characters, and in one piece."""
    return [list(tokens(text)), list(text), [text]]


def run_traps(traps: Sequence[tuple[str, str]]) -> tuple[list[str], int]:
    """Stream each trap in each carrier and each grouping.

    Returns:
        The traps that were cut, and how many characters of all texts got lost.
    """
    bad: list[str] = []
    lost = 0
    for language, trap in traps:
        for carrier in CARRIERS[language]:
            text = carrier.replace("{}", trap)
            start = carrier.index("{}")
            for pieces in chunkings(text):
                segments = stream(language, pieces).segments
                lost += abs(len(text) - sum(len(segment.text) for segment in segments))
                if cuts_inside(segments, start, start + len(trap)):
                    bad.append(f"{language}: {trap}")
    return bad, lost


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(quick: bool) -> dict[str, object]:
    """All figures of this benchmark."""
    texts, traps = read("segment_texts.tsv"), read("segment_traps.tsv")
    if quick:
        traps = traps[::2]
    first_words, first_s, lengths, over, lost, tiny = [], [], [], 0, 0, 0
    began, characters = perf_counter(), 0
    for language, text in texts:
        result = stream(language, list(tokens(text)))
        characters += len(text)
        first_words.append(words(language, result.segments[0].text))
        first_s.append(result.first_s)
        lost += "".join(segment.text for segment in result.segments) != text
        for segment in result.segments:
            lengths.append(len(segment.text.strip()))
            over += lengths[-1] > CHAR_LIMITS[language]
            tiny += words(language, segment.text) < 2 and len(result.segments) > 1
    per_character = (perf_counter() - began) / characters
    bad, lost_in_traps = run_traps(traps)
    return {
        "first_segment_words_p95": percentile(first_words, 0.95),
        "first_segment_words_p50": percentile(first_words, 0.5),
        "first_segment_s_p95": percentile(first_s, 0.95),
        "first_segment_s_p50": percentile(first_s, 0.5),
        "bad_cuts": len(bad),
        "bad_cut_texts": sorted(set(bad)),
        "traps": len(traps),
        "lost_characters": lost + lost_in_traps,
        "over_limit": over,
        "one_word_segments": tiny,
        "segment_characters_p50": percentile(lengths, 0.5),
        "microseconds_per_character": per_character * 1e6,
        "texts": len(texts),
        "languages": len(CARRIERS),
        "tokens_per_second": TOKENS_PER_SECOND,
        "text": "segment_texts.tsv, segment_traps.tsv",
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "dtype": "none",
        "threads": 1,
        "quick": quick,
    }


def main() -> None:
    """Print the figures as a table and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="every second trap")
    options = parser.parse_args()
    figures = measure(options.quick)
    for name, value in figures.items():
        print(f"{name:28} {value:.3g}" if isinstance(value, float) else f"{name:28} {value}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
