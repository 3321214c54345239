"""The input of a corpus: text, a sentence a line, or JSON lines. It is read once to check it, and then in spans."""

import hashlib
import json
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError
from fairseq_mh.translation.given.phrases import split_phrases

JSON_LINES = (".jsonl", ".ndjson")


class Source(NamedTuple):
    """A sentence to translate."""

    sentence: int  # its line, counted from 0: it keys the randomness of the chains
    id: str  # the record's own, or the line number
    text: str
    phrases: tuple[str, ...] = ()  # that its translation must hold; of text, they are behind tabs in `text`


class Span(NamedTuple):
    """The lines of a chunk, and where and what they were when they were checked."""

    number: int  # of the chunk
    first: int  # line
    lines: int
    offset: int  # bytes
    size: int
    digest: str


class Corpus(NamedTuple):
    """An input that was checked."""

    path: Path
    spans: list[Span]

    @property
    def digest(self) -> str:
        """A hash of the content, and of how that is read."""
        digests = [self.path.suffix if self.path.suffix in JSON_LINES else "", *(span.digest for span in self.spans)]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def scan(path: Path, lines: int, limit: int | None = None) -> Corpus:
    """Check an input, and cut it into spans of so many lines.

    Args:
        limit: read the first lines alone.

    Raises:
        UserError: where it cannot be read, is no text or JSON lines throughout, or is empty.
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
        raise UserError(f"the input cannot be read: {error}") from None
    if not spans:
        raise UserError(f"{path} is empty")
    return Corpus(path, spans)


def read(path: Path, span: Span) -> list[Source]:
    """Read the sources of a span.

    Raises:
        UserError: where the file is not the one that was checked.
    """
    with path.open("rb") as file:
        file.seek(span.offset)
        content = file.read(span.size)
    if _digest(content) != span.digest:
        raise UserError(f"{path} is not what it was when it was checked (line {span.first + 1} and on)")
    return [source(path, number, line) for number, line in enumerate(BytesIO(content), start=span.first)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(path: Path, sentence: int, line: bytes) -> Source:
    """Read the source of a line.

    Raises:
        UserError: for a line that holds none; the message counts lines from 1, as editors do.
    """
    where = f"{path}, line {sentence + 1}"
    try:
        text = line.decode("utf-8" if sentence else "utf-8-sig")  # a file may begin with a mark of its encoding
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 (byte {error.start + 1}); is the file compressed, or encoded?") from None
    own: Any = sentence
    phrases: list[str] = []
    if path.suffix in JSON_LINES:
        own, text, phrases = _fields(where, text, sentence)
    if "\0" in text:
        raise UserError(f"{where} holds a NUL character; is this text?")
    return Source(sentence, str(own), text.strip(), tuple(phrases))


def with_phrases(source: Source) -> Source:
    """Return a source whose text is that before the first tab, and whose phrases stand behind tabs."""
    text, phrases = split_phrases(source.text)
    return source._replace(text=text, phrases=(*phrases, *source.phrases))


def _fields(where: str, line: str, sentence: int) -> tuple[Any, str, list[str]]:
    wanted = (
        '{"text": "...", "id": "...", "phrases": ["..."]}, the id as a string or number, or none, and phrases or none'
    )
    try:
        record = json.loads(line)
        own, text, phrases = record.get("id"), record["text"], record.get("phrases") or []
        own = sentence if own is None else own
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{where} is cut off, or not of the form {wanted}") from None
    texts = isinstance(phrases, list) and all(isinstance(one, str) for one in [text, *phrases])
    if not texts or isinstance(own, bool) or not isinstance(own, str | int | float):
        raise UserError(f"{where} is not of the form {wanted}")
    try:
        f"{own}{text}{phrases}".encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a character (a lone surrogate)") from None
    return own, text, phrases
