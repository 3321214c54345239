"""Candidate translations of a data set and their quality, read from the output of `fairseq-generate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import pooled_nbest, read_output
from fairseq_mh.translation.ranking.minimum_bayes_risk import utility_of


class Candidates(NamedTuple):
    """The C distinct candidates of one sentence, in the decoder's order."""

    tokens: list[Tensor]  # C tensors (T,) long, without BOS and EOS
    quality: Tensor  # (C,) float32, the mean of sentence BLEU and chrF, 0 to 100


def read_candidates(paths: Sequence[str], dictionary: Dictionary, post_process: str) -> dict[int, Candidates]:
    """Read the candidates of one data set's sentences; several files may hold candidates of the same sentence.

    Args:
        paths: outputs of `fairseq-generate --nbest K` without `--post-process`, so that D- and T- lines are pieces.
        dictionary: the target dictionary.
        post_process: how fairseq joins pieces to text, a value of its `--post-process`.

    Returns:
        sentence number -> its candidates.

    Raises:
        UserError: if a file holds no candidates or cannot be read, or if a sentence has no reference.
    """
    files, quality = [Path(path) for path in paths], utility_of("bleu-chrf")  # only chrF would prefer long candidates
    references = {number: text for file in files for number, text in read_output(file).references.items()}
    found = {}
    for number, pooled in pooled_nbest(files).items():
        if number not in references:
            raise UserError(f"sentence {number} of {', '.join(paths)} has candidates and no T- line")
        if not (lines := [line for line in pooled if line]):
            continue
        reference, *texts = [data_utils.post_process(line, post_process) for line in (references[number], *lines)]
        scores = [score for (score,) in quality(texts, [reference], "")]
        tokens = [dictionary.encode_line(line, add_if_not_exist=False, append_eos=False).long() for line in lines]
        found[number] = Candidates(tokens, torch.tensor(scores))
    return found
