"""Reranks n-best lists of any system by the target energy of the chains."""

import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.files.output import NBest
from fairseq_mh.loading import PIECES, load_checkpoint, parse_generate_options, to_device
from fairseq_mh.masked_lms.dictionaries import WORD, sentence_pieces
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.halves import in_halves
from fairseq_mh.translation.lines import LineReader, refusal

SENTENCES_AT_ONCE = 20
Candidates = list[tuple[float, str]]  # pairs of score and text


class Cut(NamedTuple):
    """A sentence with its candidates in the model's pieces.

    Attributes:
        number: of the sentence.
        texts: the candidates.
        tokens: of each candidate, (T,) long.
    """

    number: int
    texts: list[str]
    tokens: list[Tensor]


class Rescorer:
    """The models that score, and the sources of a data set.

    Args:
        data: fairseq's data folder.
        subset: the name of the subset that the candidates translate.
        options: the options of `fairseq-generate` that choose the energy.
        pieces: the SentencePiece model that cuts candidates, unless they are in pieces already; by default the one in
            the data folder, if there is one.

    Attributes:
        refused: sentence number -> why its candidates cannot be ordered, of those rescored so far.
        rows: the decoder rows that the energies took so far, including those of autoregressive models.
        uncut: the number of candidates that cannot be cut into the model's pieces.
        outside: the number of candidates that come last because the model has no targets of their length.

    Raises:
        UserError: if a checkpoint is of another kind, or a file is damaged.
    """

    def __init__(self, data: Path, subset: str, options: Sequence[str], pieces: Path | None = None):
        own = data / PIECES
        self.pieces = sentence_pieces(pieces or (own if own.is_file() else None))
        self.task, models = load_checkpoint(parse_generate_options(str(data), options))
        self.task.load_dataset(subset)
        self.subset, self.dataset = subset, self.task.dataset(subset)
        self.scorer, self.longest = self.task.scorer(models[:1]), LineReader(self.task, models[0]).longest
        self.refused: dict[int, str] = {}
        self.rows = self.uncut = self.outside = 0

    def target(self, text: str) -> Tensor:
        """Return the tokens of a translation: (T,) long."""
        words = text
        if self.pieces and WORD not in text:
            words = " ".join(self.pieces.encode(text, out_type=str))
        return self.scorer.cmlm.target(self.task.target_dictionary.encode_line(words, add_if_not_exist=False).long())

    def check_sources(self, sources: dict[int, str]) -> None:
        """Check that an output translates this subset.

        Args:
            sources: sentence number -> source, as in the S- lines.

        Raises:
            UserError: if a sentence has another source in the subset.
        """
        for number, text in sources.items():
            if number < len(self.dataset):
                own = self.task.source_dictionary.string(self.dataset[number]["source"])
                if letters(own) != letters(text):
                    raise UserError(
                        f"sentence {number} has another source in {self.subset} than in the output, which has {text!r} "
                        "(--gen-subset must name the subset that the output translates)"
                    )

    def rescore(self, nbest: NBest) -> Iterator[dict[int, Candidates]]:
        """Yield the candidates of sentences in batches, best first; none if they cannot be ordered.

        A score is minus the energy per token, in base 2 like fairseq's.

        Raises:
            UserError: if the subset lacks one of the sentences.
        """
        if nbest and max(nbest) >= len(self.dataset):
            raise UserError(f"{self.subset} has only {len(self.dataset)} sentences, and no sentence {max(nbest)}")
        cut = [Cut(number, texts, [self.target(text) for text in texts]) for number, texts in nbest.items()]
        for start in range(0, len(cut), SENTENCES_AT_ONCE):
            yield self._batch(cut[start : start + SENTENCES_AT_ONCE])

    def _batch(self, batch: list[Cut]) -> dict[int, Candidates]:
        """Order the candidates of each sentence of a batch."""
        uncut = {one.number: sum(not self._is_cut(tokens) for tokens in one.tokens) for one in batch}
        self.uncut += sum(uncut.values())
        self.refused |= {one.number: why for one in batch if (why := self._refusal(one, uncut[one.number]))}
        best_first: dict[int, Candidates] = {one.number: [] for one in batch}
        for part, found in finish(in_halves([one for one in batch if one.number not in self.refused], self._ordered)):
            if isinstance(found, SentenceError):
                self.refused |= {one.number: str(found) for one in part}
            else:
                best_first |= found
        last = sum(score == -math.inf for listed in best_first.values() for score, _ in listed)
        self.outside += last - sum(uncut[number] for number, listed in best_first.items() if listed)
        return best_first

    def _is_cut(self, tokens: Tensor) -> bool:
        """Tell whether every piece of a candidate (T,) long is one that the model generates."""
        return bool(self.scorer.allowed[tokens].all())

    def _refusal(self, one: Cut, uncut: int) -> str | None:
        """Return the reason if a sentence's candidates cannot be ordered by their energies, and otherwise None."""
        if uncut and len(one.texts) > 1:
            return f"{uncut} of its {len(one.texts)} candidates cannot be cut into the model's pieces"
        why = refusal(self.dataset[one.number]["source"], self.longest)
        return f"its source is {why}" if why else None

    def _ordered(self, batch: Sequence[Cut]) -> Generator[None, None, dict[int, Candidates]]:
        """Evaluate the candidates of sentences; return those of each sentence, best first."""
        yield from ()
        if not batch:
            return {}
        sources = self.dataset.collater([self.dataset[one.number] for one in batch])
        sample = to_device(self.scorer.cmlm.model, sources)
        place = {number: context for context, number in enumerate(sample["id"].tolist())}
        targets = [tokens for one in batch for tokens in one.tokens]
        context = torch.tensor([place[one.number] for one in batch for _ in one.tokens])
        found = self.scorer.evaluate(source_of(sample), targets, context)
        lengths = found.energy.new_tensor([max(len(target), 1) for target in targets])
        scores = iter((-found.energy / lengths / math.log(2)).tolist())
        listed = {one.number: [(next(scores), text) for text in one.texts] for one in batch}
        self.rows += sum(int(rows.sum()) for rows in found.cost)
        return {number: sorted(candidates, key=lambda one: -one[0]) for number, candidates in listed.items()}


def letters(text: str) -> str:
    """Return a text without spaces and marks of pieces, which depend on --post-process, and with one form of <unk>."""
    for mark in (WORD, "@@", "<s>", "</s>"):
        text = text.replace(mark, "")
    return "".join(text.replace("<<unk>>", "<unk>").split())
