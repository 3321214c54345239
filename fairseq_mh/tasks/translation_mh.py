"""The fairseq task `translation_mh`: the task `translation_lev`, with decoding by Metropolis-Hastings."""

import json
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.tasks import FairseqTask, register_task
from fairseq.tasks.translation_lev import TranslationLevenshteinTask
from fairseq.token_generation_constraints import pack_constraints

from fairseq_mh.criterions.electric_nce import without_wrappers
from fairseq_mh.criterions.own_errors import OwnErrors
from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.experts import ModelEnergy, model_energy
from fairseq_mh.engine.linear import has_bf16_products
from fairseq_mh.errors import UserError, not_unicode, one_line
from fairseq_mh.excepthook import TASK
from fairseq_mh.files.checkpoints import allow_fairseq_types, load_model
from fairseq_mh.files.data_files import check_split, require_folder
from fairseq_mh.files.trace import TraceFile
from fairseq_mh.masked_lms.cmlm import CMLM, cmlm_of, require_cmlm_transformer
from fairseq_mh.masked_lms.dictionaries import load_dictionary
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.given.phrases import encoded, read_phrases
from fairseq_mh.translation.given.pieces import Cutter, Pieces, warn_of_other_pieces
from fairseq_mh.translation.given.references import References, reads_references
from fairseq_mh.translation.interactive_lines import InputLines, readable, take_any_bytes
from fairseq_mh.translation.lines import ONLY_BOS_EOS
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.config import TranslationMHConfig, summands_of
from fairseq_mh.translation.options.fairseq_options import with_defaults
from fairseq_mh.translation.options.presets import accept_presets
from fairseq_mh.translation.scorer import Scorer

logger = logging.getLogger(__name__)
BATCHES_PER_SHARD = 8  # at least, so that shards have about equal sizes
allow_fairseq_types()
FULL_MASK = "full_mask"  # a value of fairseq's --noise


def take_device(cfg: TranslationMHConfig) -> None:
    """Distribute the shards of `fairseq-generate` over the GPUs; fairseq itself puts all of them on the first GPU."""
    training = torch.distributed.is_available() and torch.distributed.is_initialized()  # then fairseq has chosen a GPU
    shards = cfg.distributed_world_size  # an unresolved interpolation (a string) in a config that is built by hand
    if isinstance(shards, int) and shards > 1 and not cfg.cpu and not training and torch.cuda.is_available():
        torch.cuda.set_device(cfg.distributed_rank % torch.cuda.device_count())


@register_task(TASK, dataclass=TranslationMHConfig)
class TranslationMHTask(TranslationLevenshteinTask):
    """Decodes by Metropolis-Hastings, degenerate Gibbs or mask-predict; is otherwise the same as `translation_lev`.

    Attributes:
        lines: the input lines of `fairseq-interactive`.
        pieces: the tokenizer and subword model that split text into pieces.
        phrases: the phrases of each sentence of the data set (`--mh-phrases`).
        checkpoints: models of `--mh-energy` and their tasks by path, each loaded once.
        traces: trace files by path.
        cmlms: CMLMs by model and dtype, each arranged once; `--eval-bleu` forgets them, as training changes them.
        energies: energies of checkpoints by path and CMLM, likewise.
        own_errors: what replaces symbols in training (`--predicted-share`), or None.
        sentences: the number of sentences that `fairseq-generate` will decode, when it is known.
    """

    cfg: TranslationMHConfig

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.lines = InputLines()
        self.pieces = Pieces(tgt_dict)
        self.phrases: list[list[str]] = []
        self.checkpoints: dict[str, tuple[Any, Any]] = {}
        self.traces: dict[str, TraceFile] = {}
        self.cmlms: dict[Any, CMLM] = {}
        self.energies: dict[Any, ModelEnergy] = {}
        self.own_errors = OwnErrors(cfg.predicted_share, cfg.noise, tgt_dict) if cfg.predicted_share else None
        self.sentences: int | None = None

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the options, with their presets."""
        super().add_args(parser)
        if isinstance(parser, ArgumentParser):  # fairseq also calls this for a group, whose parser is never used
            accept_presets(parser)
            if "--buffer-size" in parser._option_string_actions:  # of fairseq-interactive alone
                take_any_bytes()

    @classmethod
    def setup_task(cls, cfg, **kwargs):
        """Load the dictionaries and make the task.

        Raises:
            UserError: if there is no such data folder, a dictionary cannot be read, or the languages are unknown.
        """
        if not cfg.data:
            raise UserError("no data folder was given; name the folder with the dictionaries")
        require_folder(Path(utils.split_paths(cfg.data)[0]))
        take_device(cfg)
        try:
            return super().setup_task(cfg, **kwargs)
        except FileNotFoundError as error:
            raise UserError(
                f"{error.filename} does not exist; the data folder needs a dictionary of each language "
                "(--source-lang and --target-lang)"
            ) from None
        except Exception as error:
            if type(error) is Exception:  # fairseq cannot infer the languages
                raise UserError(f"{one_line(error)} (give --source-lang and --target-lang)") from None
            raise

    @classmethod
    def load_dictionary(cls, filename):
        """Load a dictionary; raises UserError if that cannot be done."""
        return load_dictionary(filename)

    def build_model(self, cfg, from_checkpoint=False):
        """Build a model; with `--eval-bleu` fairseq also builds a generator, which needs the CMLM that is trained."""
        if from_checkpoint:
            return FairseqTask.build_model(self, cfg, from_checkpoint)
        return super().build_model(cfg)

    def build_generator(self, models, args, **unused) -> MHGenerator:
        """Build the generator of the options.

        Args:
            models: the models of `--path`: the CMLM, and a reranker if the options ask for one.
            args: fairseq's generation options.
            unused: other arguments that fairseq gives.

        Raises:
            UserError: if the options or the models cannot be used.
        """
        generation = with_defaults(args)
        check(self.cfg, generation)
        reranks = bool(generation.iter_decode_with_external_reranker)
        if len(models) != 1 + reranks:
            needed = "two, CMLM:RERANKER" if reranks else "one (two with --iter-decode-with-external-reranker)"
            raise UserError(f"--path names {len(models)} models; these options need {needed}")
        model = models[0]
        model.eval()
        if self.cfg.bf16 and next(model.parameters()).device.type == "cpu":  # the scorer lets products round
            if not has_bf16_products():
                logger.warning("--bf16 changes nothing: products in bf16 need a CPU with AMX, and torch 2.9 or later")
        elif self.cfg.bf16:  # fairseq-generate converts the model for --fp16 only
            if next(model.parameters()).dtype != torch.bfloat16 and any(used == id(model) for used, _ in self.cmlms):
                raise UserError("on a GPU --bf16 converts the whole model: give it to Translator.load, not to a call")
            model.bfloat16()
        scorer = self.scorer(models)
        if getattr(getattr(model, "args", None), "noise", None) == FULL_MASK:
            logger.warning(
                "the checkpoint was trained with --noise full_mask and has never seen a partly masked target, so its "
                "masked conditionals are unreliable; train with --noise random_mask"
            )
        for split in self.datasets if reads_references(self.cfg, generation) else ():
            References(scorer.cmlm).check_all(self.datasets[split])
        path = self.cfg.mh_trace
        trace = self.traces.setdefault(str(Path(path).resolve()), TraceFile(path)) if path else None
        return MHGenerator(
            scorer, self.target_dictionary, self.cfg, generation, self.source_dictionary, trace, self.sentences
        )

    def scorer(self, models: Sequence[Any]) -> Scorer:
        """Return the scorer of the options; the models in it are arranged once.

        Args:
            models: the CMLM, and a reranker if there is one.

        Raises:
            UserError: if a model cannot be used.
        """
        key = id(models[0]), next(models[0].parameters()).dtype
        if key not in self.cmlms:
            self.cmlms[key] = cmlm_of(models[0], self.target_dictionary)
        cmlm = self.cmlms[key]
        reranker = self._reranker(models[1], cmlm) if len(models) > 1 else None
        summands = summands_of(self.cfg, cmlm.has_two_streams)
        return Scorer(cmlm, summands, lambda path: self._energy(path, cmlm), reranker, in_bf16=bool(self.cfg.bf16))

    def _energy(self, path: str, cmlm: CMLM) -> ModelEnergy:
        """Return the energy of a checkpoint, which is loaded once."""
        require_cmlm_transformer(cmlm)
        if path not in self.checkpoints:
            self.checkpoints[path] = load_model(path, "--mh-energy", task=partial(self._in_direction_of, path))
        if (path, id(cmlm)) not in self.energies:
            model, task = self.checkpoints[path]
            energy = model_energy(path, model, self.target_dictionary, cmlm, reverse=task is not self)
            self.energies[path, id(cmlm)] = energy
        return self.energies[path, id(cmlm)]

    def _in_direction_of(self, path: str, trained: Any) -> "TranslationMHTask":
        """Return the task in the direction in which a model was trained: this task, or a copy that is reversed.

        Args:
            path: the model's checkpoint, for a warning if it has other languages.
            trained: the configuration in the checkpoint.
        """
        languages = [getattr(trained.task, f"{side}_lang", None) for side in ("source", "target")]
        own = [self.cfg.source_lang, self.cfg.target_lang]
        if languages != own[::-1]:
            if None not in languages and languages != own:
                logger.warning("%s was trained from %s to %s and is used from %s to %s", path, *languages, *own)
            return self
        reverse = copy(self)
        reverse.src_dict, reverse.tgt_dict = self.tgt_dict, self.src_dict
        return reverse

    def _forget_weights(self) -> None:
        """Forget the arranged weights of models that training changes."""
        self.cmlms.clear()
        self.energies.clear()

    def _reranker(self, model: Any, cmlm: CMLM) -> ModelEnergy:
        """Return the second model of `--path` as the energy that reranks hypotheses."""
        model.eval()  # not chained, because it returns None if fairseq has prepared the model for inference
        if not Autoregressive.reads(model):
            raise UserError(
                "--iter-decode-with-external-reranker needs an autoregressive transformer; the second model of --path "
                f"is a {type(model).__name__}"
            )
        return Autoregressive(model.to(next(cmlm.model.parameters())), self.target_dictionary, cmlm)

    def begin_epoch(self, epoch, model):
        """Check, before an epoch of training, that the model can be trained with these options.

        Raises:
            UserError: if `--predicted-share` is given for a model that is no `cmlm_transformer`.
        """
        super().begin_epoch(epoch, model)
        if self.own_errors:
            self.own_errors.check(model)

    def train_step(self, sample, model, criterion, *args, **kwargs):
        """Compute loss and gradients of a batch, with the model's own errors in it if `--predicted-share` is given."""
        criterion = self.own_errors.added_to(criterion) if self.own_errors else criterion
        return super().train_step(sample, model, criterion, *args, **kwargs)

    def valid_step(self, sample, model, criterion):
        """Compute the loss and, with `--eval-bleu`, the BLEU counts of translations by these decoders."""
        loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        if self.cfg.eval_bleu:
            self._forget_weights()
            plain = without_wrappers(model)
            generator = self.build_generator([plain], Namespace(**json.loads(self.cfg.eval_bleu_args)))
            bleu = self._inference_with_bleu(generator, sample, plain)
            self._forget_weights()
            logging_output |= {"_bleu_sys_len": bleu.sys_len, "_bleu_ref_len": bleu.ref_len}
            for n, (count, total) in enumerate(zip(bleu.counts, bleu.totals, strict=True)):
                logging_output |= {f"_bleu_counts_{n}": count, f"_bleu_totals_{n}": total}
        return loss, sample_size, logging_output

    def load_dataset(self, split, *args, **kwargs):
        """Load a split, and its phrases if `--mh-phrases` is given.

        Raises:
            UserError: if a binarised file is missing or damaged, or the phrases cannot be read.
        """
        check_split(Path(utils.split_paths(self.cfg.data)[0]), split)
        super().load_dataset(split, *args, **kwargs)
        if self.cfg.mh_phrases:
            self.phrases = read_phrases(self.cfg.mh_phrases, len(self.datasets[split]))

    def build_tokenizer(self, args):
        """Build fairseq's tokenizer, and let `pieces` use it."""
        tokenizer = super().build_tokenizer(args)
        self.pieces.tokenizer = Cutter(tokenizer) if tokenizer else None
        return self.pieces.tokenizer

    def build_bpe(self, args):
        """Build fairseq's subword model, let `pieces` use it, and warn if the dictionary is that of another one."""
        bpe = super().build_bpe(args)
        warn_of_other_pieces(bpe, self.source_dictionary)
        self.pieces.bpe = Cutter(bpe) if bpe else None
        return self.pieces.bpe

    def filter_indices_by_size(self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
        """Filter out sentences that the model cannot read.

        Lines of `fairseq-interactive` are always filtered; sentences of a data set only with `ignore_invalid_inputs`
        (`--skip-invalid-size-inputs-valid-test`).

        Raises:
            UserError: if a data set has an empty source or a sentence that is too long, and filtering is off.
        """
        if hasattr(dataset, "first_line"):
            longest = utils.resolve_max_positions(self.max_positions(), max_positions)[0]
            return readable(dataset, indices, longest)
        empty = [i for i in indices.tolist() if dataset.src_sizes[i] <= ONLY_BOS_EOS]
        if empty and not ignore_invalid_inputs:
            raise UserError(
                f"source line {min(empty)} is empty; remove it, or use --skip-invalid-size-inputs-valid-test to leave "
                "such sentences out"
            )
        _, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not ignore_invalid_inputs:
            raise UserError(
                f"sentence {ignored[0]} is longer than the model's positions {max_positions}; shorten it, or use "
                "--skip-invalid-size-inputs-valid-test to leave such sentences out"
            )
        if empty:
            logger.warning("%d empty sources are left out; the first one is line %d", len(empty), min(empty))
            indices = indices[~np.isin(indices, empty)]
        return super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs)

    def get_batch_iterator(self, *args, **kwargs):
        """Return fairseq's iterator over batches, with a size multiple of 1.

        fairseq drops the sentences of the last batch if its size is not a multiple of a larger number.

        Raises:
            UserError: if there is no such shard, or a sentence does not fit into a batch.
        """
        shards, shard = kwargs.get("num_shards", 1), kwargs.get("shard_id", 0)
        if not 0 <= shard < shards:
            raise UserError(f"--distributed-rank must be from 0 to {shards - 1} (--distributed-world-size is {shards})")
        dataset = args[0] if args else kwargs["dataset"]
        training = "epoch" in kwargs
        if shards > 1 and not training and not kwargs.get("max_sentences"):
            # fairseq distributes whole batches over shards; few large ones would make shards unequal
            kwargs["max_sentences"] = max(1, len(dataset) // (shards * BATCHES_PER_SHARD))
        try:
            batches = super().get_batch_iterator(*args, **{**kwargs, "required_batch_size_multiple": 1})
        except AssertionError as error:
            raise UserError(f"no batches can be made: {one_line(error)}") from None
        if not training and shard and shard >= len(batches.frozen_batches):
            # fairseq-generate would divide by the number of sentences, which is 0
            print(f"Translated 0 sentences: shard {shard} of {shards} has none")
            raise SystemExit(0)
        self.sentences = None if training else sum(map(len, batches.frozen_batches[shard::shards]))
        return batches

    def get_interactive_tokens_and_lengths(self, lines, encode_fn):
        """Return the symbols of lines of `fairseq-interactive` and their numbers; note the lines that are not UTF-8."""
        self.lines.broken = {index: reason for index, line in enumerate(lines) if (reason := not_unicode(line))}
        return super().get_interactive_tokens_and_lengths(lines, encode_fn)

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Return the lines of `fairseq-interactive` and their phrases as a dataset, and register its line numbers."""
        dataset = super().build_dataset_for_inference(src_tokens, src_lengths)
        dataset.constraints = constraints
        return self.lines.add(dataset)

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        """Decode a batch, with its phrases.

        `fairseq-interactive` gives no line numbers, but keeps the order of the batches, so `lines` knows the numbers.
        """
        if "id" not in sample:
            sample = {**sample, "id": self.lines.numbers(), "typed": True}
        elif self.phrases:
            lines = (self.phrases[sentence] for sentence in sample["id"].tolist())
            constraints = pack_constraints([encoded(line, self.pieces) for line in lines]).to(sample["id"].device)
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)
