"""The fairseq task `translation_mh`: `translation_lev`, decoded by Metropolis-Hastings."""

import logging
import sys
from argparse import ArgumentParser
from collections import defaultdict, deque
from pathlib import Path
from typing import NoReturn

import torch
from fairseq import utils
from fairseq.tasks import register_task
from fairseq.tasks.translation_lev import TranslationLevenshteinTask

from fairseq_mh.criterions import electric_nce  # noqa: F401  (of a user's folder fairseq imports tasks and models alone)
from fairseq_mh.errors import UserError, one_line, unknown_option
from fairseq_mh.excepthook import report
from fairseq_mh.files.checkpoints import allow_fairseq_types
from fairseq_mh.files.data_files import check_split
from fairseq_mh.masked_lms.cmlm import cmlm_of
from fairseq_mh.masked_lms.electric import load_electric
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.options import TranslationMHConfig, check
from fairseq_mh.translation.presets import accept_presets

logger = logging.getLogger(__name__)
allow_fairseq_types()
ONLY_BOS_EOS = 2
FULL_MASK = "full_mask"  # of fairseq's kinds of noise


@register_task("translation_mh", dataclass=TranslationMHConfig)
class TranslationMHTask(TranslationLevenshteinTask):
    """Decodes by Metropolis-Hastings, degenerate Gibbs or mask-predict; everything else is as in `translation_lev`."""

    cfg: TranslationMHConfig

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.lines_read = 0
        self.lines_of = defaultdict(deque)  # source tokens -> numbers of the interactive lines that hold them

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the options; from here on, the mistakes of this command line end in one line and status 1."""
        super().add_args(parser)
        if isinstance(parser, ArgumentParser):  # fairseq also calls this for a group of a parser that is never used
            accept_presets(parser)

        def refuse(message: str) -> NoReturn:
            raise UserError(unknown_option(message, parser._option_string_actions))

        parser.error = refuse  # type: ignore[method-assign]
        sys.excepthook = report

    @classmethod
    def setup_task(cls, cfg, **kwargs):
        if not cfg.data:
            raise UserError("no data folder was given")
        try:
            return super().setup_task(cfg, **kwargs)
        except ValueError as error:
            raise UserError(f"a dictionary of {cfg.data} cannot be read: {error}") from None
        except Exception as error:
            if type(error) is Exception:  # fairseq cannot infer the languages
                raise UserError(f"{one_line(error)} (--source-lang, --target-lang)") from None
            raise

    def build_generator(self, models, args, **unused) -> MHGenerator:
        """Build the generator of the options.

        Raises:
            UserError: for options or models that cannot be decoded with.
        """
        check(self.cfg, args)
        if len(models) != 1:
            raise UserError(f"--path names {len(models)} models; an energy needs one")
        model = models[0]
        model.eval()
        if self.cfg.bf16:  # fairseq-generate itself does so for --fp16 alone
            model.bfloat16()
        cmlm = cmlm_of(model, self.target_dictionary)
        if getattr(getattr(model, "args", None), "noise", None) == FULL_MASK:
            logger.warning(
                "the checkpoint was trained with --noise full_mask: it has never seen a partly masked target, and its "
                "masked conditionals mean little (train with --noise random_mask)"
            )
        electric = load_electric(self.cfg.mh_electric, self, cmlm) if self.cfg.mh_electric else None
        return MHGenerator(cmlm, self.target_dictionary, self.cfg, args, electric)

    def load_dataset(self, split, *args, **kwargs):
        """Load a split.

        Raises:
            UserError: where its binarised files are not whole.
        """
        check_split(Path(utils.split_paths(self.cfg.data)[0]), split)
        super().load_dataset(split, *args, **kwargs)

    def filter_indices_by_size(self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
        """Leave out what the model cannot read, where the options say so.

        Raises:
            UserError: for an empty source, and for one beyond the model's positions.
        """
        shortest = min(range(len(dataset)), key=lambda i: dataset.src_sizes[i], default=None)
        if shortest is not None and len(dataset[shortest]["source"]) <= ONLY_BOS_EOS:
            raise UserError(f"source line {shortest} is empty; there is nothing to translate")
        _, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not ignore_invalid_inputs:
            raise UserError(
                f"sentence {ignored[0]} is longer than the model's positions {max_positions}; "
                "--skip-invalid-size-inputs-valid-test leaves such sentences out"
            )
        return super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs)

    def get_batch_iterator(self, *args, **kwargs):
        """Return batches of any size: with another multiple, fairseq leaves out the last batch, and its sentences.

        Raises:
            UserError: for a shard that there is not, and for batches too small for a sentence.
        """
        if not 0 <= kwargs.get("shard_id", 0) < kwargs.get("num_shards", 1):
            raise UserError("--distributed-rank must be from 0 to --distributed-world-size less 1")
        try:
            return super().get_batch_iterator(*args, **{**kwargs, "required_batch_size_multiple": 1})
        except AssertionError as error:
            raise UserError(f"no batches can be made: {one_line(error)}") from None

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Remember which line of the input holds which tokens: `fairseq-interactive` does not pass it on."""
        if constraints is not None:
            raise UserError("--constraints is not supported")
        for tokens in src_tokens:
            self.lines_of[self._text(tokens)].append(self.lines_read)
            self.lines_read += 1
        return super().build_dataset_for_inference(src_tokens, src_lengths)

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        if "id" not in sample:
            sample = {**sample, "id": self._line_numbers(sample["net_input"]["src_tokens"])}
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)

    def _line_numbers(self, src_tokens: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self.lines_of[self._text(row)].popleft() for row in src_tokens])

    def _text(self, tokens: torch.Tensor) -> tuple[int, ...]:
        """Return what tells a line from others, in a batch or alone."""
        outside = tokens.new_tensor([self.source_dictionary.bos(), self.source_dictionary.pad()])
        return tuple(tokens[~torch.isin(tokens, outside)].tolist())
