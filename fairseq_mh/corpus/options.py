"""The options of `fairseq-mh corpus`, their checks, and the settings that decide its output."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq import utils
from omegaconf import OmegaConf

import fairseq_mh
from fairseq_mh.corpus.sources import Corpus
from fairseq_mh.errors import refuse
from fairseq_mh.files.chunks import by_content, fingerprint
from fairseq_mh.files.data_files import require_folder
from fairseq_mh.loading import parse_generate_options
from fairseq_mh.translation.given.references import reads_references
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.energy_sum import parse_energy

# `settings` leaves out these options: its `files` cover the content of `data`, and the others do not change the output.
ELSEWHERE = ("data", "cpu", "no_progress_bar", "distributed_world_size", "distributed_rank")


@dataclass(frozen=True)
class CorpusOptions:
    """The options of one corpus run.

    Args:
        data: fairseq's data folder.
        corpus: text with one sentence per line, or JSON lines.
        output: the folder to write.
        arguments: decoding options, as on the command line of fairseq-generate.
        format: `jsonl` or `parquet`.
        samples: whether to also write every state that the chains visited.
        chunk_size: number of lines that are written, or lost, together.
        workers: number of Ray workers, each with a GPU or core; 0: only this process; None: one per GPU or core.
        address: address of a Ray cluster; None: start Ray for this run only.
        limit: number of first lines to translate; None: all lines.
    """

    data: Path
    corpus: Path
    output: Path
    arguments: tuple[str, ...] = ()
    format: str = "jsonl"
    samples: bool = False
    chunk_size: int = 500
    workers: int | None = None
    address: str | None = None
    limit: int | None = None


def checked(args: CorpusOptions) -> Any:
    """Check the options before anything is loaded or written, and return fairseq's configuration.

    Raises:
        UserError: if an option cannot be used.
    """
    require_folder(args.data)
    cfg = parse_generate_options(str(args.data), args.arguments)
    check(cfg.task, cfg.generation)
    refusals = {
        "--address is for Ray workers, but --workers 0 starts none": args.workers == 0 and bool(args.address),
        "--samples writes states of chains, but --mh-decoding mask-predict has no chains": (
            args.samples and cfg.task.mh_decoding == "mask-predict"
        ),
        "--mh-phrases is for fairseq-generate; in a corpus, phrases follow their sentence on its line": bool(
            cfg.task.mh_phrases
        ),
        "--mh-trace has no effect here; --samples writes the states that chains visited": bool(cfg.task.mh_trace),
        "--mh-gold-length, --mh-init reference, --prefix-size and --score-reference need references, but a corpus has "
        "none": reads_references(cfg.task, cfg.generation),
    }
    refuse(refusals | {f"--{name} has no effect here": bool(used) for name, used in unused(cfg).items()})
    return cfg


def unused(cfg: Any) -> dict[str, bool]:
    """Return the options of fairseq-generate that have no effect on a corpus, and whether each was given."""
    return {
        "distributed-world-size (use --workers)": cfg.distributed_training.distributed_world_size > 1,
        "distributed-rank (use --workers)": cfg.distributed_training.distributed_rank > 0,
        "num-shards (use --workers)": cfg.dataset.num_shards > 1,
        "gen-subset": cfg.dataset.gen_subset != "test",
        "results-path (use --output)": cfg.common_eval.results_path is not None,
        "checkpoint-suffix": bool(cfg.checkpoint.checkpoint_suffix),
        "replace-unk": cfg.generation.replace_unk is not None,
        "retain-iter-history (use --samples)": cfg.generation.retain_iter_history,
    }


def settings(args: CorpusOptions, cfg: Any, corpus: Corpus) -> dict[str, Any]:
    """Return every setting that decides the output; which worker translates which batch is not one of them."""
    groups = {name: cfg[name] for name in ("task", "bpe", "tokenizer") if cfg[name] is not None}
    options = {name: OmegaConf.to_container(group, resolve=True) for name, group in groups.items()}
    summands = parse_energy(cfg.task.mh_energy) if cfg.task.mh_energy else []
    named = [
        *(one.path for one in summands),
        *(value for name in ("bpe", "tokenizer") for value in options.get(name, {}).values()),
    ]
    paths = [*utils.split_paths(cfg.common_eval.path), *(value for value in named if value and isinstance(value, str))]
    files = [*(Path(path) for path in paths), *sorted(args.data.glob("dict.*.txt"))]
    for name in ELSEWHERE:
        del options["task"][name]
    options = {name: by_content(group, list(group)) for name, group in options.items() if name != "task"} | {
        "task": options["task"] | {"mh_energy": [(one.name, one.weight, one.order_weight) for one in summands]}
    }
    return {
        **options,
        **{
            name: cfg.generation[name]
            for name in ("nbest", "iter_decode_with_beam", "iter_decode_max_iter", "constraints")
        },
        "fp16": cfg.common.fp16,
        "post_process": cfg.common_eval.post_process,
        "model_overrides": cfg.common_eval.model_overrides,
        "files": [fingerprint(path) for path in files if path.exists()],
        "corpus": corpus.digest,
        "chunk_size": args.chunk_size,
        "format": args.format,
        "samples": args.samples,
        "version": fairseq_mh.__version__,
    }
