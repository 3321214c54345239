"""Candidates of a data set's sentences, and how good each is: read from the output of `fairseq-generate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import read_nbest, read_output
from fairseq_mh.translation.utilities import utility_of

QUALITY = utility_of("bleu-chrf")  # chrF alone prefers outputs that are too long


class Candidates(NamedTuple):
    """The C distinct candidates of one sentence, the decoder's own order first."""

    tokens: list[Tensor]  # C times (T,) long, without BOS and EOS
    quality: Tensor  # (C,) float32: the mean of sentence BLEU and chrF, 0 to 100


def read_candidates(paths: Sequence[str], dictionary: Dictionary, post_process: str) -> dict[int, Candidates]:
    """Read candidates of the sentences of one data set; those of a sentence may be in several files.

    Args:
        paths: outputs of `fairseq-generate --nbest K` without `--post-process`, so that D- and T- lines are pieces.
        dictionary: of the targets.
        post_process: how fairseq joins pieces to text, as of its `--post-process`.

    Returns:
        sentence number -> its candidates.

    Raises:
        UserError: for a file that holds no candidates or cannot be read, and for a sentence without its reference.
    """
    references: dict[int, str] = {}
    pooled: dict[int, list[str]] = {}
    for path in map(Path, paths):
        references |= read_output(path).references
        for number, texts in read_nbest(path).items():
            pooled.setdefault(number, []).extend(text for text in texts if text)
    found = {}
    for number, lines in pooled.items():
        if number not in references:
            raise UserError(f"sentence {number} of {', '.join(paths)} has candidates and no T- line")
        distinct = list(dict.fromkeys(lines))
        reference, *texts = [data_utils.post_process(line, post_process) for line in (references[number], *distinct)]
        scores = [score for (score,) in QUALITY(texts, [reference], "")]
        tokens = [dictionary.encode_line(line, add_if_not_exist=False, append_eos=False).long() for line in distinct]
        found[number] = Candidates(tokens, torch.tensor(scores))
    return found
