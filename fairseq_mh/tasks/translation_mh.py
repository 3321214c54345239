"""The fairseq task `translation_mh`: `translation_lev`, decoded by Metropolis-Hastings."""

import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from fairseq import utils
from fairseq.tasks import register_task
from fairseq.tasks.translation_lev import TranslationLevenshteinTask
from fairseq.token_generation_constraints import pack_constraints

from fairseq_mh.criterions import electric_nce, electric_ranking  # noqa: F401  (fairseq imports tasks and models alone)
from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.experts import ModelEnergy, model_energy
from fairseq_mh.errors import UserError, one_line, unknown_option
from fairseq_mh.excepthook import report
from fairseq_mh.files.checkpoints import allow_fairseq_types, load_model
from fairseq_mh.files.data_files import check_split
from fairseq_mh.files.trace import TraceFile
from fairseq_mh.masked_lms.cmlm import CMLM, cmlm_of, require_cmlm_transformer
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.given.phrases import encoded, read_phrases
from fairseq_mh.translation.given.references import References, reads_references
from fairseq_mh.translation.interactive_lines import ONLY_BOS_EOS, InputLines, readable
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.config import TranslationMHConfig, summands_of
from fairseq_mh.translation.options.fairseq_options import with_defaults
from fairseq_mh.translation.options.presets import accept_presets
from fairseq_mh.translation.scorer import Scorer

logger = logging.getLogger(__name__)
BATCHES_PER_SHARD = 8  # so that shards are of about equal size
allow_fairseq_types()
FULL_MASK = "full_mask"  # of fairseq's kinds of noise


def take_device(cfg: TranslationMHConfig) -> None:
    """Let each shard of `fairseq-generate` use a device of its own, in turn: fairseq itself takes the first for all."""
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()  # in training fairseq has chosen
    shards = cfg.distributed_world_size  # a config that is built by hand has the name of fairseq's option here
    if isinstance(shards, int) and shards > 1 and not cfg.cpu and not shared and torch.cuda.is_available():
        torch.cuda.set_device(cfg.distributed_rank % torch.cuda.device_count())


@register_task("translation_mh", dataclass=TranslationMHConfig)
class TranslationMHTask(TranslationLevenshteinTask):
    """Decodes by Metropolis-Hastings, degenerate Gibbs or mask-predict; everything else is as in `translation_lev`."""

    cfg: TranslationMHConfig

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.lines = InputLines()
        self.cutters: list[Any] = []  # of text into pieces, one after the other
        self.phrases: list[list[str]] = []  # of the sentences of the data set
        self.checkpoints: dict[str, Any] = {}  # models of `--mh-energy` by path, loaded once
        self.traces: dict[str, TraceFile] = {}  # by path
        self.scorers: dict[Any, Scorer] = {}  # of the models that do not change any more

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
        take_device(cfg)
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
        generation = with_defaults(args)
        check(self.cfg, generation)
        reranks = bool(generation.iter_decode_with_external_reranker)
        if len(models) != 1 + reranks:
            needed = "two, CMLM:RERANKER" if reranks else "one (two: --iter-decode-with-external-reranker)"
            raise UserError(f"--path names {len(models)} models; these options need {needed}")
        model = models[0]
        model.eval()
        if self.cfg.bf16:  # fairseq-generate itself does so for --fp16 alone
            model.bfloat16()
        scorer = self.scorer(models)
        if getattr(getattr(model, "args", None), "noise", None) == FULL_MASK:
            logger.warning(
                "the checkpoint was trained with --noise full_mask: it has never seen a partly masked target, and its "
                "masked conditionals mean little (train with --noise random_mask)"
            )
        for split in self.datasets if reads_references(self.cfg, generation) else ():
            References(scorer.cmlm).check_all(self.datasets[split])
        trace = self.traces.setdefault(path, TraceFile(path)) if (path := self.cfg.mh_trace) else None
        return MHGenerator(scorer, self.target_dictionary, self.cfg, generation, self.source_dictionary, trace)

    def scorer(self, models: Sequence[Any]) -> Scorer:
        """Return the models that score translations; those of one set of options are built once.

        Args:
            models: the CMLM, and perhaps a reranker.

        Raises:
            UserError: for models that cannot score.
        """
        key = (self.cfg.mh_energy, self.cfg.mh_decoding == "gibbs", *map(id, models))
        if key not in self.scorers:
            known = (scorer.cmlm for scorer in self.scorers.values() if scorer.cmlm.model is models[0])
            cmlm = next(known, None) or cmlm_of(models[0], self.target_dictionary)
            summands = summands_of(self.cfg, cmlm.has_two_streams)
            reranker = self._reranker(models[1], cmlm) if len(models) > 1 else None
            self.scorers[key] = Scorer(cmlm, summands, lambda path: self._energy(path, cmlm), reranker)
        return self.scorers[key]

    def _energy(self, path: str, cmlm: CMLM) -> ModelEnergy:
        """Return the energy of a checkpoint, which is read from disk once."""
        require_cmlm_transformer(cmlm)
        if path not in self.checkpoints:
            self.checkpoints[path], _ = load_model(path, "--mh-energy", task=self)
        return model_energy(path, self.checkpoints[path], self.target_dictionary, cmlm)

    def _reranker(self, model: Any, cmlm: CMLM) -> ModelEnergy:
        """Return the second model of `--path` as the energy that orders hypotheses."""
        model.eval()  # returns nothing if fairseq has prepared the model for inference
        if not Autoregressive.reads(model):
            raise UserError(
                "--iter-decode-with-external-reranker needs an autoregressive transformer; the second model of --path "
                f"is a {type(model).__name__}"
            )
        return Autoregressive(model.to(next(cmlm.model.parameters())), self.target_dictionary, cmlm)

    def valid_step(self, sample, model, criterion):
        """Return the loss and, with `--eval-bleu`, the counts of BLEU of translations by these decoders."""
        loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        if self.cfg.eval_bleu:
            self.scorers.clear()  # a scorer arranges the weights of its CMLM once, and training changes them
            generator = self.build_generator([model], Namespace(**json.loads(self.cfg.eval_bleu_args)))
            bleu = self._inference_with_bleu(generator, sample, model)
            logging_output |= {"_bleu_sys_len": bleu.sys_len, "_bleu_ref_len": bleu.ref_len}
            for n, (count, total) in enumerate(zip(bleu.counts, bleu.totals, strict=True)):
                logging_output |= {f"_bleu_counts_{n}": count, f"_bleu_totals_{n}": total}
        return loss, sample_size, logging_output

    def load_dataset(self, split, *args, **kwargs):
        """Load a split.

        Raises:
            UserError: where its binarised files are not whole.
        """
        check_split(Path(utils.split_paths(self.cfg.data)[0]), split)
        super().load_dataset(split, *args, **kwargs)
        if self.cfg.mh_phrases:
            self.phrases = read_phrases(self.cfg.mh_phrases, len(self.datasets[split]))

    def build_tokenizer(self, args):
        tokenizer = super().build_tokenizer(args)
        self.cutters = [tokenizer] if tokenizer else []
        return tokenizer

    def build_bpe(self, args):
        bpe = super().build_bpe(args)
        self.cutters += [bpe] if bpe else []
        return bpe

    def cut(self, text: str) -> str:
        """Return the pieces of a text, with spaces between."""
        for cutter in self.cutters:
            text = cutter.encode(text)
        return text

    def filter_indices_by_size(self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
        """Leave out what the model cannot read: of interactive input always, of a data set where the options say so.

        Raises:
            UserError: for an empty source of a data set, and for one beyond the model's positions.
        """
        if hasattr(dataset, "first_line"):
            longest = utils.resolve_max_positions(self.max_positions(), max_positions)[0]
            return readable(dataset, indices, longest)
        empty = [i for i in indices.tolist() if dataset.src_sizes[i] <= ONLY_BOS_EOS]
        if empty and not ignore_invalid_inputs:
            raise UserError(
                f"source line {min(empty)} is empty; there is nothing to translate "
                "(--skip-invalid-size-inputs-valid-test leaves such sentences out)"
            )
        _, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not ignore_invalid_inputs:
            raise UserError(
                f"sentence {ignored[0]} is longer than the model's positions {max_positions}; "
                "--skip-invalid-size-inputs-valid-test leaves such sentences out"
            )
        if empty:
            logger.warning("%d empty sources are left out, the first one is %d", len(empty), min(empty))
            indices = indices[~np.isin(indices, empty)]
        return super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs)

    def get_batch_iterator(self, *args, **kwargs):
        """Return batches of any size: with another multiple, fairseq leaves out the last batch, and its sentences.

        Raises:
            UserError: for a shard that there is not, and for batches too small for a sentence.
        """
        shards, shard = kwargs.get("num_shards", 1), kwargs.get("shard_id", 0)
        if not 0 <= shard < shards:
            raise UserError("--distributed-rank must be from 0 to --distributed-world-size less 1")
        dataset = args[0] if args else kwargs["dataset"]
        training = "epoch" in kwargs
        if shards > 1 and not training and not kwargs.get("max_sentences"):
            # fairseq deals out whole batches, of which there may be few
            kwargs["max_sentences"] = max(1, len(dataset) // (shards * BATCHES_PER_SHARD))
        try:
            batches = super().get_batch_iterator(*args, **{**kwargs, "required_batch_size_multiple": 1})
        except AssertionError as error:
            raise UserError(f"no batches can be made: {one_line(error)}") from None
        if not training and shard and shard >= len(batches.frozen_batches):
            # fairseq-generate would divide by the number of sentences
            print(f"Translated 0 sentences: shard {shard} of {shards} has none")
            raise SystemExit(0)
        return batches

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Return the lines of `fairseq-interactive`, and their phrases, as a dataset that knows their numbers."""
        dataset = super().build_dataset_for_inference(src_tokens, src_lengths)
        dataset.constraints = constraints
        return self.lines.add(dataset)

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        """Decode a batch; `fairseq-interactive` does not say which lines are in it, but keeps their order."""
        if "id" not in sample:
            sample = {**sample, "id": self.lines.numbers(), "typed": True}
        elif self.phrases:
            lines = (self.phrases[sentence] for sentence in sample["id"].tolist())
            constraints = pack_constraints([encoded(line, self.cut, self.target_dictionary) for line in lines])
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)
