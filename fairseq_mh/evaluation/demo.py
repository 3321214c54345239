"""Translates a part of a test set with the decoders of the grid `demo`, and compares their translations."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from shutil import rmtree

import polars as pl
from tabulate import tabulate

import fairseq_mh
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun, find_grid, read_grid, refuse_missing_files
from fairseq_mh.evaluation.runner import collect, run_once
from fairseq_mh.evaluation.translation_bench import TranslationBench
from fairseq_mh.files.data_files import target_language
from fairseq_mh.files.output import Output, read_output, read_references
from fairseq_mh.masked_lms.dictionaries import subwords, target_dictionary
from fairseq_mh.progress import Progress
from fairseq_mh.translation.options.energy_sum import checkpoints_of

MODEL = Path("models", "libreoffice-de-en")
SUBSET = "test"
SHOWN = slice(3, 6)  # the segments whose translations are printed
RECORDED = Path("results", "embedded", "results.csv")  # the same decoders on the whole test set
ENERGY = "best_energy_two-stream"
A_TENTH = ("--distributed-world-size", "10")  # fairseq decodes one of ten shards


def find_model() -> Path:
    """Return the folder of the embedded model, in the current folder or in the clone that holds the package.

    Raises:
        UserError: if neither has the model.
    """
    for folder in (Path(), Path(fairseq_mh.__file__).parents[1]):
        if (folder / MODEL / "checkpoint.pt").is_file():
            return folder / MODEL
    raise UserError(
        f"{MODEL} is not here: it is in the project's git repository, not in the installed package; run this "
        "in a clone, or give a data folder with a checkpoint: fairseq-mh demo FOLDER"
    )


def demo_grid(model: Path) -> tuple[list[GridRun], list[str]]:
    """Return the runs of the grid `demo` for a model's folder, and notes on the runs that are left out.

    A run is left out if the folder lacks the expert that it needs.

    Raises:
        UserError: if the folder lacks another file.
    """
    for name in ("checkpoint.pt", f"dict.{target_language(model)}.txt"):
        if not (model / name).is_file():
            raise UserError(f"{model / name} does not exist; the demo needs it")
    grid = read_grid(find_grid("demo"), model)
    own = [run for run in grid if not (run.missing_file() and "mh-energy" in run.options)]
    refuse_missing_files(own)
    notes = [f"{run.decoder} is left out: {run.missing_file()} does not exist" for run in grid if run not in own]
    return own, notes


def demo_bench(model: Path, whole: bool, limit: int | None) -> TranslationBench:
    """Return the bench of the demo's runs: the whole test set, its first sentences, or one of ten shards of it."""
    joined = subwords(target_dictionary(model))
    reference = model / f"{SUBSET}.{target_language(model)}"
    arguments = (
        *(("--post-process", joined) if joined else ()),
        *("--batch-size", "10"),
        *(() if whole or limit else A_TENTH),
    )
    text = reference if reference.is_file() else None
    return TranslationBench(model, model / "checkpoint.pt", SUBSET, text, arguments, limit)


def demonstrate(grid: list[GridRun], bench: TranslationBench) -> Iterator[str]:
    """Run the grid, and yield lines to print: tables of results, what they say, and translations of some segments.

    Raises:
        UserError: if a run fails, after the results of the earlier runs were yielded. Its output is kept.
    """
    failure, folders = None, []
    folder = Path(tempfile.mkdtemp(prefix="fairseq-mh."))
    with ExitStack() as stack:
        stack.callback(rmtree, folder)
        try:
            for run in Progress(grid, "decoders", unit=""):
                folders.append(run_once(run, bench, folder))
        except UserError as error:
            failure = error
            stack.pop_all()
        if folders:
            found = {run.decoder: read_output(f / "output.txt") for run, f in zip(grid, folders, strict=False)}
            results = collect(folders, folder)
            yield from _tables(results, bench)
            yield from what_chains_give(results)
            yield from _translations(found, bench)
    if failure:
        raise failure


def _tables(results: pl.DataFrame, bench: TranslationBench) -> Iterator[str]:
    """Yield the table of the results, and that of the whole test set if it was recorded with the same checkpoint."""
    segments, name = results["sentences"][0], bench.data.resolve().name
    yield f"\n{segments} segments of the test set of {name}\n\n{grouped_table(results)}"
    path = Path(fairseq_mh.__file__).parents[1] / RECORDED
    if not path.is_file():
        return
    same = [pl.col(name) == results[name][0] for name in ("seed", "checkpoint")]
    recorded = pl.read_csv(path).filter(*same, pl.col("decoder").is_in(results["decoder"].to_list()))
    if len(recorded) and (whole := recorded["sentences"][0]) > segments:
        yield f"\nAll {whole} segments, recorded ({RECORDED})\n\n{grouped_table(recorded)}"


def grouped_table(results: pl.DataFrame) -> str:
    """Return the results as text, in groups of decoders whose energies read the same models.

    Args:
        results: a row for each run, as `collect` returns them.
    """
    lines: list[list[str]] = []
    for models, rows in groupby(results.iter_rows(named=True), lambda row: checkpoints_of(row["mh_energy"])):
        lines.append([f"with {', '.join(Path(path).name for path in models)}" if models else "the CMLM alone"])
        for row in rows:
            figures = (row["rows"] + row["expert_rows"]) / row["sentences"], row["seconds"] / row["sentences"] * 1000
            scores = f"{row['bleu']:.1f}", f"{row['chrf']:.1f}", f"{row[ENERGY]:.3f}"
            lines.append([f"  {row['decoder']}", *scores, *(f"{figure:,.0f}" for figure in figures)])
    heads = ["decoder", "BLEU", "chrF", "energy", "rows", "ms"]
    table = tabulate(lines, heads, disable_numparse=True, colalign=("left", *["right"] * 5), preserve_whitespace=True)
    return f"""{table}
energy: of each segment's best state, in nats a token; rows and milliseconds: of a segment
{results["bleu_signature"][0]}
{results["chrf_signature"][0]}"""


def what_chains_give(results: pl.DataFrame) -> Iterator[str]:
    """Yield what the sampler gives and mask-predict does not, with figures of decoders that read the same models."""
    energies, bleu = (dict(results.select("decoder", column).iter_rows()) for column in (ENERGY, "bleu"))
    heuristic, chains = (energies.get(name) for name in ("mask-predict", "annealed MH (default)"))
    if heuristic is not None and chains is not None:
        yield (
            f"\nAt one length, the chains find translations of {chains:.3f} nats a token, mask-predict of "
            f"{heuristic:.3f}.\nOnly the chains draw samples with their frequencies (--samples), keep given phrases "
            "wherever they stand\n(--constraints), and give the probability of each alternative (fairseq-mh page)."
        )
    reordered, states = (bleu.get(name) for name in ("rerank, with both", "best, ordered with both"))
    if reordered is not None and states is not None:
        yield (
            f"Ordered by the CMLM, its teacher and the reverse model, mask-predict's translations have {reordered:.1f} "
            f"BLEU,\nand the states of the chains {states:.1f}."
        )


def _translations(found: dict[str, Output], bench: TranslationBench) -> Iterator[str]:
    """Yield, for some segments, the source, the reference and every decoder's translation."""
    width, first = max(map(len, found)), next(iter(found.values()))
    references = read_references(bench.reference) if bench.reference else first.references
    for number in sorted(first.hypotheses)[SHOWN]:
        yield f"\n{'source':{width}}  {first.sources.get(number, '')}"
        yield f"{'reference':{width}}  {references.get(number, '')}"
        for decoder, output in found.items():
            yield f"{decoder:{width}}  {output.hypotheses[number]}"
