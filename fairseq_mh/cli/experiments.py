"""Run a grid of decoders on a data set, and write a table of the results.

    fairseq-mh experiments table5 models/libreoffice-de-en --output out/table5 --limit 50 \\
        -- --post-process sentencepiece --batch-size 20
    fairseq-mh experiments table2 models/libreoffice-en --output out/table2 --causal-lm FOLDER -- --chains 50

OUTPUT/results.csv has a row for each run, with all of its settings; OUTPUT/curves.csv has a row for each run and sweep;
OUTPUT/runs/ has the printed output and the trace of each run. After an interruption, run the same command to continue.
"""

import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import UserError, refuse
from fairseq_mh.evaluation.grid import find_grid, grid_names, read_grid, refuse_missing_files
from fairseq_mh.evaluation.runner import Bench, collect, run_once
from fairseq_mh.evaluation.tables import results_table
from fairseq_mh.files.chunks import LOCK, lock
from fairseq_mh.files.data_files import require_folder
from fairseq_mh.progress import Progress

TAKES_MORE = "OPTIONS OF fairseq-generate, or of fairseq-mh sample for texts"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("grid", help=f"a YAML file, or the name of a grid: {', '.join(grid_names())}")
    parser.add_argument("data", type=Path, help="fairseq's data folder; or, to draw texts, a masked language model")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--path", type=Path, help="the checkpoint; default: DATA/checkpoint.pt")
    parser.add_argument("--gen-subset", default="test", help="the subset to translate; default: %(default)s")
    parser.add_argument(
        "--limit", type=whole_number(1), metavar="N", help="translate only the first N sentences of the subset"
    )
    parser.add_argument("--reference", type=Path, help="plain text, one sentence per line; default: the targets")
    parser.add_argument(
        "--causal-lm", type=Path, help="a model that judges texts: a Hugging Face folder, or a .gguf file"
    )


def run(args: Namespace) -> None:
    grid = read_grid(find_grid(args.grid), args.data)
    refuse_missing_files(grid)
    bench, folders = bench_of(args), []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters send it to a job whose time is over
    try:
        with lock(args.output):
            for one in Progress(grid, desc=grid[0].experiment, unit=" runs"):
                folders.append(run_once(one, bench, args.output))
                results = collect(folders, args.output)
            (args.output / LOCK).unlink()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to continue") from None
    print(results_table(results))
    print(f"{args.output / 'results.csv'} is written: {len(results)} runs; by sweep in curves.csv, outputs in runs/")


def bench_of(args: Namespace) -> Bench:
    """Return the bench for texts or for translations; only what it needs is imported.

    Raises:
        UserError: if an option belongs to the other kind of runs, or the references cannot be used.
    """
    if args.data.suffix == ".pt" or (args.data / "config.json").exists():
        from fairseq_mh.evaluation.text_bench import TextBench

        if args.path or args.reference or args.limit:
            raise UserError("--path, --reference and --limit are for translations; these runs draw texts (-- --chains)")
        return TextBench(args.data, args.causal_lm, tuple(args.more))
    from fairseq_mh.evaluation.translation_bench import TranslationBench

    if args.causal_lm:
        raise UserError("--causal-lm judges texts; these runs translate")
    given = {argument.partition("=")[0] for argument in args.more}
    refuse(
        {f"give {name} before --, so that the results name it": name in given for name in ("--path", "--gen-subset")}
    )
    require_folder(args.data)
    path = args.path or args.data / "checkpoint.pt"
    bench = TranslationBench(args.data, path, args.gen_subset, args.reference, tuple(args.more), args.limit)
    _ = bench.references  # a file that cannot serve is refused before anything is decoded
    return bench
