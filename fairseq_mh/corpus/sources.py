"""Reads the input of a corpus: text with one sentence per line, or JSON lines.

The input is read once to check it, and then again span by span.
"""

import hashlib
import json
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError, not_unicode, reason

JSON_LINES = (".jsonl", ".ndjson")


class Source(NamedTuple):
    """A sentence to translate.

    Attributes:
        sentence: the line number, counted from 0; the random draws of the chains depend on it.
        id: the ID from the record, or the line number.
        text: the sentence.
        phrases: phrases that the translation must contain; see `with_phrases` for text files.
    """

    sentence: int
    id: str
    text: str
    phrases: tuple[str, ...] = ()


class Span(NamedTuple):
    """The lines of a chunk: their place in the file, and the hash of their content when they were checked.

    Attributes:
        number: the number of the chunk.
        first: the number of its first line, counted from 0.
        lines: the number of its lines.
        offset: the position of the first line in the file, in bytes.
        size: the size of all its lines, in bytes.
        digest: the SHA-256 of its lines.
    """

    number: int
    first: int
    lines: int
    offset: int
    size: int
    digest: str


class Corpus(NamedTuple):
    """An input file that was checked.

    Attributes:
        path: the file.
        spans: the lines of each chunk, in order.
    """

    path: Path
    spans: list[Span]

    @property
    def digest(self) -> str:
        """Return a hash of the content and of the format in which it is read."""
        digests = [self.path.suffix if self.path.suffix in JSON_LINES else "", *(span.digest for span in self.spans)]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def scan(path: Path, lines: int, limit: int | None = None) -> Corpus:
    """Check an input, and cut it into spans.

    Args:
        path: the input file.
        lines: number of lines in a span; the last span may have fewer.
        limit: number of first lines to read; None: all lines.

    Raises:
        UserError: if the file cannot be read or is empty, or if a line is not valid text or JSON.
    """
    spans: list[Span] = []
    offset = first = 0
    try:
        with path.open("rb") as file:
            while chunk := list(islice(file, lines if limit is None else min(lines, limit - first))):
                for number, line in enumerate(chunk, start=first):
                    source(path, number, line)
                content = b"".join(chunk)
                spans.append(Span(len(spans), first, len(chunk), offset, len(content), _digest(content)))
                offset, first = offset + len(content), first + len(chunk)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None
    if not spans:
        raise UserError(f"{path} is empty")
    return Corpus(path, spans)


def read(path: Path, span: Span) -> list[Source]:
    """Read the sources of a span.

    Raises:
        UserError: if the file has changed since it was checked.
    """
    with path.open("rb") as file:
        file.seek(span.offset)
        content = file.read(span.size)
    if _digest(content) != span.digest:
        raise UserError(f"{path} has changed since it was checked (at line {span.first + 1} or later)")
    return [source(path, number, line) for number, line in enumerate(BytesIO(content), start=span.first)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(path: Path, sentence: int, line: bytes) -> Source:
    """Read the source on a line.

    Args:
        path: the input file; its suffix decides the format.
        sentence: line number, counted from 0.
        line: content of the line, in UTF-8.

    Raises:
        UserError: if the line holds no source; the message counts lines from 1, as editors do.
    """
    location = f"{path}, line {sentence + 1}"
    try:
        text = line.decode("utf-8" if sentence else "utf-8-sig")  # a file may begin with a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(
            f"{location} is not UTF-8 (byte {error.start + 1}); is it compressed, or encoded otherwise?"
        ) from None
    identifier: Any = sentence
    phrases: list[str] = []
    if path.suffix in JSON_LINES:
        identifier, text, phrases = _fields(location, text, sentence)
    if "\0" in text:
        raise UserError(f"{location} holds a NUL character; is this a text file?")
    return Source(sentence, str(identifier), text.strip(), tuple(phrases))


def with_phrases(source: Source) -> Source:
    """Return a source in which the phrases that follow the text, each after a tab, are moved into `phrases`."""
    text, *phrases = source.text.split("\t")
    return source._replace(text=text, phrases=(*phrases, *source.phrases))


def _fields(location: str, line: str, sentence: int) -> tuple[Any, str, list[str]]:
    """Return the ID, text and phrases of a JSON line; the ID defaults to the line number."""
    wanted = (
        '{"text": "...", "id": "...", "phrases": ["..."]}; "id" (a string or a number) and "phrases" may be left out'
    )
    try:
        record = json.loads(line)
        identifier, text, phrases = record.get("id"), record["text"], record.get("phrases") or []
        identifier = sentence if identifier is None else identifier
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{location} is cut off, or not of the form {wanted}") from None
    texts = isinstance(phrases, list) and all(isinstance(one, str) for one in [text, *phrases])
    if not texts or isinstance(identifier, bool) or not isinstance(identifier, str | int | float):
        raise UserError(f"{location} is not of the form {wanted}")
    for one in (str(identifier), text, *phrases):
        if fault := not_unicode(one):
            raise UserError(f"{location} is {fault}")
    return identifier, text, phrases
