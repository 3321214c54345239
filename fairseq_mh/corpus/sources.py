"""What is to be translated: a text, a sentence a line, or JSON lines; read once, to check it, and then in spans."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError

JSON_LINES = (".jsonl", ".ndjson")


class Source(NamedTuple):
    sentence: int  # its line, counted from 0: what keys the randomness of its chains
    id: str  # its own, or the number
    text: str


class Span(NamedTuple):
    """A block of lines."""

    number: int  # of the block
    first: int  # line
    lines: int
    offset: int  # bytes


class Corpus(NamedTuple):
    path: Path
    spans: list[Span]
    digest: str  # of the file's content


def read(path: Path, span: Span) -> Iterator[Source]:
    """The sources of a span.

    Raises:
        UserError: where the file is not the one that was checked.
    """
    with path.open("rb") as file:
        file.seek(span.offset)
        for sentence in range(span.first, span.first + span.lines):
            line = file.readline()
            if not line:
                raise UserError(f"{path} is shorter than when it was checked")
            yield source(path, sentence, line)


def scan(path: Path, lines: int) -> Corpus:
    """Check a whole input, and cut it into spans of so many lines.

    Raises:
        UserError: where it cannot be read, is no text or JSON lines throughout, or is empty.
    """
    spans: list[Span] = []
    digest, offset, sentence = hashlib.sha256(), 0, 0
    try:
        with path.open("rb") as file:
            for sentence, line in enumerate(file, start=1):
                source(path, sentence - 1, line)
                if sentence % lines == 1 or lines == 1:
                    spans.append(Span(len(spans), sentence - 1, lines, offset))
                digest.update(line)
                offset += len(line)
    except OSError as error:
        raise UserError(f"the input cannot be read: {error}") from None
    if not spans:
        raise UserError(f"{path} is empty")
    spans[-1] = spans[-1]._replace(lines=sentence - spans[-1].first)
    return Corpus(path, spans, digest.hexdigest()[:16])


def source(path: Path, sentence: int, line: bytes) -> Source:
    """Raises UserError for a line that holds none, and says which it is, counted from 1 as editors do."""
    where = f"{path}, line {sentence + 1}"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 (byte {error.start + 1}); is the file compressed, or encoded?") from None
    own: Any = sentence
    if path.suffix in JSON_LINES:
        own, text = _fields(where, text, sentence)
    if "\0" in text:
        raise UserError(f"{where} holds a NUL character; is this text?")
    return Source(sentence, str(own), text.strip())


def _fields(where: str, line: str, sentence: int) -> tuple[Any, str]:
    wanted = '{"text": "...", "id": "..."}, the id as a string or number, or none'
    try:
        record = json.loads(line)
        own, text = record.get("id", sentence), record["text"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{where} is cut off, or not of the form {wanted}") from None
    if not isinstance(text, str) or isinstance(own, bool) or not isinstance(own, str | int | float):
        raise UserError(f"{where} is not of the form {wanted}")
    try:
        f"{own}{text}".encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a character (a lone surrogate)") from None
    return own, text
