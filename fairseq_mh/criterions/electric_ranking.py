"""A listwise loss that teaches an Electric to order candidates by their quality (Bhattacharyya et al., 2021).

The loss of a sentence with candidates X_1..X_C and qualities b_c (the mean of sentence BLEU and chrF) is

    loss = KL(softmax(b / 5) || softmax(s)),    s_c = -E(X_c) / T_c

so better candidates get a lower energy per token. Contrastive estimation (`electric_nce`) learns what the CMLM's
conditionals already know; this loss learns what they do not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.criterions.electric_nce import without_wrappers
from fairseq_mh.energies.electric import token_energies
from fairseq_mh.errors import UserError
from fairseq_mh.files.checkpoints import split_names
from fairseq_mh.files.output import pooled_nbest, read_output
from fairseq_mh.masked_lms.cmlm import CMLM
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


SHARPNESS = 5.0  # points of quality that make a candidate e times as likely as another
# The quality of three candidates is logged: the one of lowest energy, the decoder's first one, and the best one.
PICKS = ("picked", "first", "best")


@dataclass
class ElectricRankingConfig(FairseqDataclass):
    """The options of `--criterion electric_ranking`."""

    candidates: str = field(
        default="",
        metadata={
            "help": "output of `fairseq-generate --gen-subset train --nbest K` without --post-process on the training "
            "data; several files, separated by commas, are merged"
        },
    )
    valid_candidates: str = field(
        default="", metadata={"help": "the same for the validation data; not needed if validation is disabled"}
    )
    post_process: str = field(
        default="sentencepiece", metadata={"help": "how to join the candidates' pieces to the text that is scored"}
    )


def listwise_loss(scores: Tensor, quality: Tensor) -> Tensor:
    """Return the loss of one sentence, in nats.

    Args:
        scores: (C,), higher is likelier.
        quality: (C,), 0 to 100.
    """
    return F.kl_div(
        scores.log_softmax(0), (quality.to(scores) / SHARPNESS).log_softmax(0), log_target=True, reduction="sum"
    )


@register_criterion("electric_ranking", dataclass=ElectricRankingConfig)
class ElectricRanking(FairseqCriterion):
    """The loss of an `electric_transformer`; loss and gradients are sums over sentences.

    Args:
        task: the training's fairseq task.
        candidates, valid_candidates: paths of files, separated by commas.
        post_process: how pieces are joined to text, a value of fairseq's `--post-process`.

    Raises:
        UserError: if the trained model is no `electric_transformer` or has `--noise-layers`; if no candidates are
            given; or if a file or a sentence has none.
    """

    def __init__(self, task, candidates: str, valid_candidates: str, post_process: str):
        super().__init__(task)
        if not candidates:
            raise UserError("--criterion electric_ranking needs --candidates FILE")
        self.lists = {  # whether the model is in training -> its candidates by sentence number
            training: read_candidates(split_names(paths, ","), task.target_dictionary, post_process) if paths else {}
            for training, paths in ((True, candidates), (False, valid_candidates))
        }

    def forward(self, model, sample: dict, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        electric = without_wrappers(model)
        lists = [self._candidates_of(number, model.training) for number in sample["id"].tolist()]
        scores = self._score(model, electric, sample, lists)
        loss = torch.stack([listwise_loss(own, one.quality) for own, one in zip(scores, lists, strict=True)]).sum()
        logging = {"loss": loss.data, "sample_size": len(lists), "ntokens": sample["ntokens"], "nsentences": len(lists)}
        picked = [one.quality[int(own.argmax())] for own, one in zip(scores, lists, strict=True)]
        logging |= {"picked": sum(picked), "first": sum(one.quality[0] for one in lists)}
        logging["best"] = sum(one.quality.max() for one in lists)
        return loss, len(lists), logging

    def _candidates_of(self, number: int, training: bool) -> Candidates:
        """Return the candidates of a sentence, given its number in the data."""
        if number not in self.lists[training]:
            option = "--candidates" if training else "--valid-candidates"
            raise UserError(f"sentence {number} has no candidates in the files of {option}")
        return self.lists[training][number]

    def _score(self, model, electric: ElectricTransformer, sample: dict, lists: list[Candidates]) -> tuple[Tensor, ...]:
        """Return minus the energy per token of all candidates: a tensor (C,) float32 for each sentence."""
        if not isinstance(electric, ElectricTransformer) or electric.cloze is not None:
            raise UserError("--criterion electric_ranking trains an electric_transformer without --noise-layers")
        reader = CMLM(electric, self.task.target_dictionary)
        source = sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]
        counts = torch.tensor([len(one.tokens) for one in lists], device=source[0].device)
        row = torch.arange(len(lists), device=counts.device).repeat_interleave(counts)
        encoded = electric.encoder.reorder_encoder_out(electric.forward_encoder(source), row)
        tokens = data_utils.collate_tokens(list(chain(*(one.tokens for one in lists))), reader.pad).to(row)
        energies = token_energies(model, reader, encoded, tokens)
        return (-energies.sum(1) / tokens.ne(reader.pad).sum(1)).split(counts.tolist())

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict]) -> None:
        sentences = sum(log["nsentences"] for log in logging_outputs)
        for name in ("loss", *PICKS):
            total = sum(float(log[name]) for log in logging_outputs)
            metrics.log_scalar(name, total / sentences, sentences, round=4 if name == "loss" else 2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
