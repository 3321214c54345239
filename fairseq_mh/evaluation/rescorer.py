"""Reranks n-best lists of any system by the target energy of the chains."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece
import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import NBest
from fairseq_mh.loading import PIECES, load_checkpoint, parse_generate_options, to_device
from fairseq_mh.masked_lms.dictionaries import WORD, sentence_pieces
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.scorer import Scorer

SENTENCES_AT_ONCE = 20


class Rescored(NamedTuple):
    """A batch of sentences with their candidates in order, the best one first.

    Attributes:
        best_first: sentence number -> pairs of score and candidate.
        rows: the decoder rows that the energies took, including those of autoregressive models.
    """

    best_first: dict[int, list[tuple[float, str]]]
    rows: int


class Rescorer(NamedTuple):
    """The models that score, and the sources of a data set.

    Attributes:
        task: fairseq's task, with the data set loaded.
        scorer: the scorer of the chains' energy.
        pieces: the model that cuts candidates into pieces, or None if they are in pieces already.
        subset: the name of the subset that the candidates translate.
    """

    task: Any
    scorer: Scorer
    pieces: sentencepiece.SentencePieceProcessor | None
    subset: str

    def target(self, text: str) -> Tensor:
        """Return the tokens of a translation: (T,) long."""
        words = " ".join(self.pieces.encode(text, out_type=str)) if self.pieces else text
        return self.scorer.cmlm.target(self.task.target_dictionary.encode_line(words, add_if_not_exist=False).long())

    def check_sources(self, sources: dict[int, str]) -> None:
        """Check that an output translates this subset.

        Args:
            sources: sentence number -> source, as in the S- lines.

        Raises:
            UserError: if a sentence has another source in the subset.
        """
        dataset = self.task.dataset(self.subset)
        for number, text in sources.items():
            if number < len(dataset):
                own = self.task.source_dictionary.string(dataset[number]["source"])
                if letters(own) != letters(text):
                    raise UserError(
                        f"sentence {number} has another source in {self.subset} than in the output, which has {text!r} "
                        "(--gen-subset must name the subset that the output translates)"
                    )

    def energies(self, candidates: list[tuple[int, str]]) -> tuple[list[float], int]:
        """Evaluate the energies of candidates.

        Args:
            candidates: pairs of sentence number and translation.

        Returns:
            The energy of each candidate in nats per token, and the decoder rows that the energies took.

        Raises:
            UserError: if the subset lacks one of the sentences.
        """
        dataset = self.task.dataset(self.subset)
        numbers = sorted({number for number, _ in candidates})
        if numbers[-1] >= len(dataset):
            raise UserError(f"{self.subset} has only {len(dataset)} sentences, and no sentence {numbers[-1]}")
        batch = to_device(self.scorer.cmlm.model, dataset.collater([dataset[number] for number in numbers]))
        place = {number: context for context, number in enumerate(batch["id"].tolist())}
        source = source_of(batch)
        targets = [self.target(text) for _, text in candidates]
        context = torch.tensor([place[number] for number, _ in candidates])
        found = self.scorer.evaluate(source, targets, context)
        nats = [total / max(len(target), 1) for total, target in zip(found.energy.tolist(), targets, strict=True)]
        return nats, sum(int(rows.sum()) for rows in found.cost)

    def rescore(self, nbest: NBest) -> Iterator[Rescored]:
        """Yield the reranked sentences in batches; a score is minus the energy per token, in base 2 like fairseq's."""
        numbers = list(nbest)
        for start in range(0, len(numbers), SENTENCES_AT_ONCE):
            listed = [(number, text) for number in numbers[start : start + SENTENCES_AT_ONCE] for text in nbest[number]]
            nats, spent = self.energies(listed)
            ordered = sorted(zip(listed, nats, strict=True), key=lambda entry: (entry[0][0], entry[1]))
            best_first = {
                number: [(-energy / math.log(2), text) for (_, text), energy in entries]
                for number, entries in groupby(ordered, key=lambda entry: entry[0][0])
            }
            yield Rescored(best_first, spent)


def letters(text: str) -> str:
    """Return a text without spaces and marks of pieces, which depend on --post-process, and with one form of <unk>."""
    for mark in (WORD, "@@", "<s>", "</s>"):
        text = text.replace(mark, "")
    return "".join(text.replace("<<unk>>", "<unk>").split())


def load_rescorer(
    data: Path,
    subset: str,
    options: Sequence[str],
    pieces: sentencepiece.SentencePieceProcessor | None,
) -> Rescorer:
    """Load the models and the data.

    Args:
        data: fairseq's data folder.
        subset: the name of the subset that the candidates translate.
        options: the options of `fairseq-generate` that choose the energy.
        pieces: the model that cuts candidates into pieces; None if they are in pieces already.

    Raises:
        UserError: if a checkpoint is of another kind, or a file is damaged.
    """
    task, models = load_checkpoint(parse_generate_options(str(data), options))
    task.load_dataset(subset)
    return Rescorer(task, task.scorer(models[:1]), pieces, subset)


def pieces_for(data: Path, model: Path | None, nbest: NBest) -> sentencepiece.SentencePieceProcessor | None:
    """Return the model that cuts candidates into pieces: the given one, or else the one in the data folder.

    The result is None if there is no such model, or if the candidates are in pieces already.

    Raises:
        UserError: if the given model cannot be read.
    """
    own = data / PIECES
    cut = any(WORD in text for texts in nbest.values() for text in texts)
    return sentence_pieces(model or (own if own.is_file() and not cut else None))
