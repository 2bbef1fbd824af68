"""Stage 1, the text: sentences from freely licensed Debian packages and from templates.

    python -m training.corpus

Fetches the packages named in SOURCES with ``apt-get download`` (nothing is installed), cuts them
into
sentences, normalises them as the package does before speaking, and splits them by a hash of the
text into
train, dev and held-out: the split never changes, whatever else does.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import subprocess
from pathlib import Path

from livekit_xtts.text.normalize import normalize
from training.settings import WORK, Split

# Debian package → (licence, what is read). Details and credits stand in README.md.
SOURCES = ("wordnet-base", "fortunes", "fortunes-min", "bible-kjv-text", "miscfiles")

_PLAIN = re.compile(r"^[A-Za-z][A-Za-z ,.;:!?'\-]*[.!?]$")
_VOWEL = re.compile(r"[aeiouy]", re.I)


def fetch(folder: Path) -> None:
    """Downloads and unpacks the Debian packages into folder, one subfolder each."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in SOURCES:
        if (folder / package).exists():
            continue
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive.name, package], cwd=folder, check=True)


def _wordnet(folder: Path) -> list[str]:
    """The example sentences of the synsets: short everyday English, each used for one meaning."""
    found = []
    for part in ("verb", "noun", "adj", "adv"):
        text = (folder / f"wordnet-base/usr/share/wordnet/data.{part}").read_text("latin-1")
        for line in text.splitlines():
            found += re.findall(r'"([^"]{8,160})"', line)
    return found


def _fortunes(folder: Path) -> list[str]:
    found = []
    for package in ("fortunes", "fortunes-min"):
        for path in sorted((folder / package / "usr/share/games/fortunes").glob("*")):
            if path.suffix or path.name in ("ascii-art", "perl", "debian", "translate-me"):
                continue
            for cookie in path.read_text("utf-8", "replace").split("\n%\n"):
                body = cookie.split("\n\t\t--")[0]
                body = re.sub(r"\s+", " ", body.replace("--", ",").replace("...", "."))
                found += re.findall(r"[A-Z][^.!?]{6,170}[.!?]", body)
    return found


def _documents(folder: Path) -> list[str]:
    found = []
    for name in ("us-constitution.gz", "us-declaration.gz"):
        data = gzip.decompress((folder / "miscfiles/usr/share/state" / name).read_bytes())
        body = re.sub(r"\s+", " ", data.decode("latin-1"))
        found += re.findall(r"[A-Z][^.!?]{6,170}[.!?]", body)
    return found


_NAMES = [
    "Anna",
    "Ben",
    "Carol",
    "David",
    "Emma",
    "Frank",
    "Grace",
    "Henry",
    "Julia",
    "Kevin",
    "Laura",
    "Martin",
    "Nina",
    "Oliver",
]
_THINGS = [
    "appointment",
    "order",
    "invoice",
    "delivery",
    "meeting",
    "booking",
    "ticket",
    "payment",
    "question",
    "account",
    "password",
    "message",
    "package",
    "table",
    "room",
    "flight",
    "train",
    "reservation",
    "letter",
    "number",
    "answer",
    "problem",
    "report",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SMALL = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_TEMPLATES = (
    "Hello {name}, how can I help you today?",
    "Your {thing} is ready.",
    "I have found your {thing}, {name}.",
    "The {thing} is on {day}, at {n} o'clock.",
    "Could you please repeat the {thing} number?",
    "Thank you for calling, {name}.",
    "Please hold the line for a moment.",
    "I am sorry, I did not understand the {thing}.",
    "Your {thing} will arrive on {day}, the {nth} of {month}.",
    "That will be {n} dollars and {n} cents.",
    "Would you like to change your {thing}?",
    "There are {n} people ahead of you.",
    "Yes, of course.",
    "No, thank you.",
    "One moment, please.",
    "I can book the {thing} for {day}.",
    "The {thing} costs {n} dollars.",
    "Let me check the {thing} for you, {name}.",
    "Is there anything else I can do for you?",
    "The number is {n}, {n}, {n}, {n}.",
    "Good morning, {name}.",
    "Goodbye, and have a nice {day}.",
    "We are open from {n} to {n}, from {day} to {day}.",
    "In {month}, we sold {n} hundred and {n} tickets.",
    "My name is {name}, and I am your assistant.",
)


def _number(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(_SMALL)
    tens = rng.choice(_TENS)
    return tens if kind < 0.6 else f"{tens}-{rng.choice(_SMALL[:9])}"


def _templates(rng: random.Random, count: int) -> list[str]:
    nths = [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "twelfth",
    ]
    found = []
    for _ in range(count):
        text = rng.choice(_TEMPLATES)
        for key, options in (
            ("name", _NAMES),
            ("thing", _THINGS),
            ("day", _DAYS),
            ("month", _MONTHS),
            ("nth", nths),
        ):
            text = text.replace("{" + key + "}", rng.choice(options))
        while "{n}" in text:
            text = text.replace("{n}", _number(rng), 1)
        found.append(text)
    return found


def _clean(text: str) -> str | None:
    """The sentence in plain English letters, or None where it is not one worth reading."""
    text = re.sub(r"\s+", " ", text.replace("`", "'").replace("_", " ")).strip(" ;:,-'")
    text = re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", "", text).replace(" - ", ", ")
    if text and text[-1] not in ".!?":
        text += "."
    if not _PLAIN.match(text) or re.search(r"[.!?].*[.!?]|[,;:.!?]{2}|\b[A-Z]{2,}\b", text):
        return None
    words = text.split()
    if not 1 <= len(words) <= 27 or len(text) > 150 or len(text) < 4:
        return None
    if any(len(w) > 3 and not _VOWEL.search(w) for w in words):
        return None
    return normalize(text[0].upper() + text[1:], "en")


def split_of(text: str) -> Split:
    """Which split a normalised sentence belongs to: by its words alone, so for ever the same."""
    words = re.sub(r"[^a-z ]", "", text.lower())
    share = int(hashlib.sha256(words.encode()).hexdigest()[:8], 16) / 16**8
    return "heldout" if share < 0.02 else "dev" if share < 0.035 else "train"


def main() -> None:
    """Writes WORK/sentences.json: {split: [[text, source], …]} in an order fixed by the seed."""
    folder = WORK / "texts"
    fetch(folder)
    rng = random.Random(1)
    found: dict[str, str] = {}
    words: list[str] = []
    for source, texts in (
        ("templates", _templates(rng, 2500)),
        ("documents", _documents(folder)),
        ("wordnet", _wordnet(folder)),
        ("fortunes", _fortunes(folder)),
    ):
        for text in texts:
            clean = _clean(text)
            if clean:
                found.setdefault(clean, source)
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "dev": [], "heldout": []}
    for text, source in found.items():
        splits[split_of(text)].append((text, source))
    for part in splits.values():
        rng.shuffle(part)
    # Long readings: two neighbours with a comma or semicolon between them teach pauses and
    # late positions.
    train = splits["train"]
    joined = []
    for (a, _), (b, _) in zip(train[0:3600:2], train[1:3600:2], strict=True):
        if 40 < len(a) + len(b) < 190:
            joined.append((a.rstrip(".!?") + rng.choice((", ", "; ", ", ")) + b, "joined"))
    short = []
    for text, _ in train[:4000]:
        words = [w.strip(",.;:!?") for w in text.split()]
        if len(words) > 5:
            start = rng.randrange(len(words) - 3)
            short.append((" ".join(words[start : start + rng.randint(1, 3)]) + ".", "short"))
    train += joined + short[:1200]
    rng.shuffle(train)
    (WORK / "sentences.json").write_text(json.dumps(splits, indent=0))
    for name, part in splits.items():
        counts = {s: sum(1 for _, x in part if x == s) for s in sorted({x for _, x in part})}
        print(name, len(part), counts, sum(len(t.split()) for t, _ in part) / max(1, len(part)))


if __name__ == "__main__":
    main()
