"""Translates a part of a test set with the decoders of the grid `demo`, and compares their translations."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import fairseq_mh
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun, find_grid, read_grid, refuse_missing_files
from fairseq_mh.evaluation.pieces import target_language
from fairseq_mh.evaluation.runner import collect, run_once
from fairseq_mh.evaluation.tables import results_table
from fairseq_mh.evaluation.translation_bench import TranslationBench
from fairseq_mh.files.output import Output, read_output, read_references
from fairseq_mh.masked_lms.dictionaries import load_dictionary, subwords
from fairseq_mh.progress import Progress

MODEL = Path("models", "libreoffice-de-en")
SUBSET = "test"
SHOWN = slice(3, 6)  # the segments whose translations are printed
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
    language = target_language(model)
    joined = subwords(load_dictionary(model / f"dict.{language}.txt"))
    reference = model / f"{SUBSET}.{language}"
    arguments = (
        *(("--post-process", joined) if joined else ()),
        *("--batch-size", "10"),
        *(() if whole or limit else A_TENTH),
    )
    text = reference if reference.is_file() else None
    return TranslationBench(model, model / "checkpoint.pt", SUBSET, text, arguments, limit)


def demonstrate(grid: list[GridRun], bench: TranslationBench) -> Iterator[str]:
    """Run the grid, and yield lines to print: a table of the results, and every decoder's translation of some segments.

    Raises:
        UserError: if a run fails, after the results of the earlier runs were yielded.
    """
    failure, folders = None, []
    with tempfile.TemporaryDirectory(prefix="fairseq-mh.") as name:
        try:
            for run in Progress(grid, "decoders", unit=""):
                folders.append(run_once(run, bench, Path(name)))
        except UserError as error:
            failure = error
        if folders:
            found = {run.decoder: read_output(f / "output.txt") for run, f in zip(grid, folders, strict=False)}
            segments = len(next(iter(found.values())).hypotheses)
            yield f"\n{segments} segments of the test set of {bench.data.resolve().name}\n"
            yield results_table(collect(folders, Path(name)))
            yield from _translations(found, bench)
    if failure:
        raise failure


def _translations(found: dict[str, Output], bench: TranslationBench) -> Iterator[str]:
    """Yield, for some segments, the source, the reference and every decoder's translation."""
    width, first = max(map(len, found)), next(iter(found.values()))
    references = read_references(bench.reference) if bench.reference else first.references
    for number in sorted(first.hypotheses)[SHOWN]:
        yield f"\n{'source':{width}}  {first.sources.get(number, '')}"
        yield f"{'reference':{width}}  {references.get(number, '')}"
        for decoder, output in found.items():
            yield f"{decoder:{width}}  {output.hypotheses[number]}"
