"""The rows of a batch: what is to be spoken, from a .txt, .csv or .jsonl file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit_xtts.cli.exits import UsageError
from livekit_xtts.storage import safe_name

FIELDS = ("id", "text", "voice", "language", "seed", "speed")


@dataclass(frozen=True, slots=True)
class Row:
    """One text of a batch; what is None is as the options say.

    Attributes:
        id: Its file's stem.
        text: What to say.
        voice: As `--voice`.
        language: As `--language`.
        seed: As `--seed`.
        speed: As `--speed`.
    """

    id: str
    text: str
    voice: str | None = None
    language: str | None = None
    seed: int | None = None
    speed: float | None = None


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, checked before anything is spoken.

    A .txt file has a text on each line; .csv a header with `text` and any of `id`, `voice`,
    `language`, `seed`, `speed`; .jsonl an object with these names on each line. Rows without an id
    are numbered.

    Raises:
        UsageError: The file or a row cannot be used; the message names the line.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: a batch is a {', '.join(_READERS)} file")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}") from error
    found = list(reader(content, path))
    if not found:
        raise UsageError(f"{path} holds no text")
    width = max(4, len(str(len(found))))
    rows = [
        _row(values, f"{path}, line {line}", f"{number:0{width}d}")
        for number, (line, values) in enumerate(found, 1)
    ]
    seen: dict[str, str] = {}
    for row in rows:
        folded = row.id.casefold()  # files of some systems do not tell case apart
        if folded in seen:
            raise UsageError(f"{path}: the id {row.id!r} is there twice")
        seen[folded] = row.id
    return rows


def _lines(content: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            yield number, {"text": line.strip()}


def _table(content: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    header = content.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or []]
        if "text" not in names:
            raise UsageError(f"{path} has no column named text; its first line names the columns")
        reader.fieldnames = names
        for values in reader:
            yield reader.line_num, values
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from error


def _objects(content: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}, line {number}: an object with text in it is needed")
        yield number, values


_READERS: dict[str, Callable[[str, Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".txt": _lines,
    ".csv": _table,
    ".jsonl": _objects,
}


def _row(values: dict[str, Any], where: str, number: str) -> Row:
    given = {name: values[name] for name in FIELDS if values.get(name) not in (None, "")}
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{where}: there is no text")
    name = safe_name(str(given.get("id", number)))
    if name is None:
        raise UsageError(f"{where}: {given['id']!r} cannot be a file's name")
    try:
        return Row(
            id=name,
            text=text,
            voice=str(given["voice"]) if "voice" in given else None,
            language=str(given["language"]) if "language" in given else None,
            seed=int(given["seed"]) if "seed" in given else None,
            speed=float(given["speed"]) if "speed" in given else None,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: seed and speed must be numbers") from error
