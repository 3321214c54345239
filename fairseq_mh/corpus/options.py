"""What `fairseq-mh corpus` may be told, what is refused, and what of it decides the output."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq import utils
from omegaconf import OmegaConf

import fairseq_mh
from fairseq_mh.corpus.sources import Corpus
from fairseq_mh.errors import refuse
from fairseq_mh.files.chunks import by_content, fingerprint
from fairseq_mh.loading import parse_generate_options
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.energy_sum import parse_energy

# Of the task's options, the one that `files` holds by content, and those that decide nothing of the output.
ELSEWHERE = ("data", "cpu", "no_progress_bar", "distributed_world_size", "distributed_rank")


@dataclass(frozen=True)
class CorpusOptions:
    """What is translated, with what, and where to.

    Args:
        data: fairseq's data folder.
        corpus: the text, a sentence a line; or JSON lines.
        output: the folder to write.
        arguments: decoding options, as fairseq-generate's.
        format: `jsonl` or `parquet`.
        samples: whether to write every state that the chains visited, too.
        chunk_size: lines that are written, or lost, together.
        workers: of Ray, a GPU or core each; 0: this process alone; None: all that there are.
        address: of a Ray cluster; None: a Ray of this run alone.
        limit: translate the first lines alone; None: all of them.
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
    """Return fairseq's configuration.

    Raises:
        UserError: for what means nothing, before anything is loaded or written.
    """
    cfg = parse_generate_options(str(args.data), args.arguments)
    check(cfg.task, cfg.generation)
    refusals = {
        "--chunk-size must be 1 or more": args.chunk_size < 1,
        "--limit must be 1 or more": args.limit is not None and args.limit < 1,
        "--workers must not be negative": args.workers is not None and args.workers < 0,
        "--address is for workers of Ray; --workers 0 has none": args.workers == 0 and bool(args.address),
        "--samples are states of chains; --mh-decoding mask-predict has none": (
            args.samples and cfg.task.mh_decoding == "mask-predict"
        ),
        "--batch-size must be 1 or more": cfg.dataset.batch_size is not None and cfg.dataset.batch_size < 1,
        "--max-tokens must be 1 or more": cfg.dataset.max_tokens is not None and cfg.dataset.max_tokens < 1,
        "--mh-phrases is for fairseq-generate; in a corpus, phrases stand behind their sentence": bool(
            cfg.task.mh_phrases
        ),
        "--mh-trace is one process's; --samples writes what the chains visited": bool(cfg.task.mh_trace),
        "--mh-gold-length and --mh-init reference need references, and a corpus has none": (
            cfg.task.mh_gold_length or cfg.task.mh_init == "reference"
        ),
    }
    refuse(refusals | {f"--{name} does nothing here": bool(used) for name, used in unused(cfg).items()})
    return cfg


def unused(cfg: Any) -> dict[str, bool]:
    """Return the options of fairseq-generate that have no part in a corpus, and whether each was given."""
    return {
        "distributed-world-size (--workers)": cfg.distributed_training.distributed_world_size > 1,
        "distributed-rank (--workers)": cfg.distributed_training.distributed_rank > 0,
        "num-shards (--workers)": cfg.dataset.num_shards > 1,
        "gen-subset": cfg.dataset.gen_subset != "test",
        "results-path (--output)": cfg.common_eval.results_path is not None,
        "checkpoint-suffix": bool(cfg.checkpoint.checkpoint_suffix),
        "replace-unk": cfg.generation.replace_unk is not None,
        "retain-iter-history (--samples)": cfg.generation.retain_iter_history,
    }


def settings(args: CorpusOptions, cfg: Any, corpus: Corpus) -> dict[str, Any]:
    """Return everything that decides the output, and nothing else: not who translates which batch."""
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
        "task": options["task"] | {"mh_energy": [(one.name, one.weight) for one in summands]}
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
