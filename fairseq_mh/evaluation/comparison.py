"""Compares the outputs of several decoders by scores with a paired bootstrap, by wins and losses, and by cost."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from tabulate import tabulate

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.tables import UNREAD, settings_of
from fairseq_mh.files.output import Output, in_order

HEADERS = ("output", "BLEU", "95 %", "p", "chrF", "95 %", "p", "wins", "losses", "rows", "seconds")
PIECE = re.compile("\u2581\\S|\\S@@(\\s|$)")  # with the mark of sentencepiece or subword-nmt
ROW = "row.json"  # a file of decoder, seed and settings, in the folder of a run's output


def system_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each output.

    A name is the decoder, with those settings and the seed in which runs of the same decoder differ. An output is named
    by its path if `fairseq-mh experiments` did not write it, or if another output would get the same name.
    """
    rows = [_row(path.parent / ROW) for path in paths]
    names = [str(path) if row is None else _name(row, rows) for path, row in zip(paths, rows, strict=True)]
    return [name if names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)]


def _row(path: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("decoder"), str) else None


def _name(row: dict[str, Any], rows: Sequence[dict[str, Any] | None]) -> str:
    same = [other for other in rows if other and other["decoder"] == row["decoder"]]
    unread = UNREAD.get(row.get("mh_decoding", ""), ())
    settings = [name for name in ["seed", *settings_of(row)] if name in row and name not in unread]
    differing = [name for name in settings if any(other.get(name) != row[name] for other in same)]
    return ", ".join(
        [row["decoder"], *(f"{name.removeprefix('mh_').replace('_', ' ')} {row[name]}" for name in differing)]
    )


def of_common_sentences(outputs: dict[str, Output]) -> dict[str, Output]:
    """Keep only the sentences that all outputs translate; the cost remains that of the whole output.

    Raises:
        UserError: if there is no such sentence.
    """
    common = set.intersection(*(set(output.hypotheses) for output in outputs.values()))
    if not common:
        raise UserError("no sentence is in all of the outputs")
    return {
        name: output._replace(hypotheses={n: text for n, text in output.hypotheses.items() if n in common})
        for name, output in outputs.items()
    }


def warnings_about(hypotheses: Mapping[str, dict[int, str]], references: dict[int, str], printed: bool) -> list[str]:
    """Return a line for each reason why scores of these texts do not mean what they should.

    Args:
        hypotheses: name -> sentence number -> translation.
        references: sentence number -> reference.
        printed: whether the references are T- lines, in which fairseq has no characters that the dictionary lacks.
    """
    lines = []
    scored = {number: references[number] for number in next(iter(hypotheses.values())) if number in references}
    unknown = sum("<unk>" in text for text in scored.values())
    if printed and unknown:
        lines.append(
            f"{unknown} of {len(scored)} references (T- lines) have <unk> for what the dictionary lacks, which changes "
            "the scores: give the original text with --reference"
        )
    texts = {**hypotheses, "the references": scored}
    cut = [name for name, found in texts.items() if in_pieces(found.values())]
    if cut and len(cut) < len(texts):
        lines.append(
            f"{' and '.join(cut)}: these are in pieces, the others are joined, and scores of both cannot be compared: "
            "run fairseq-generate with the same --post-process (sentencepiece or subword_nmt) for all"
        )
    return lines


def in_pieces(texts: Collection[str]) -> bool:
    """Tell whether texts are in subword pieces: at least one in twenty has a piece's mark."""
    return 0 < len(texts) <= 20 * sum(bool(PIECE.search(text)) for text in texts)


def comparison_table(outputs: dict[str, Output], references: dict[int, str], samples: int) -> str:
    """Compare outputs with the first one, which is the baseline.

    A win is a sentence whose chrF is higher than the baseline's.

    Args:
        outputs: name in the table -> output.
        references: sentence number -> reference.
        samples: number of resamples that the bootstrap draws.

    Returns:
        The table as text, with sacrebleu's signatures below it.

    Raises:
        UserError: if the outputs do not translate the same sentences.
    """
    first = next(iter(outputs.values()))
    for name, output in outputs.items():
        if output.hypotheses.keys() != first.hypotheses.keys():
            raise UserError(
                f"{name} and the first output are not of the same sentences; --common compares the shared ones"
            )
    systems: list[tuple[str, Sequence[str]]] = [
        (name, in_order(output.hypotheses, references)[0]) for name, output in outputs.items()
    ]
    ordered = in_order(first.hypotheses, references)[1]
    test = PairedTest(systems, {"BLEU": BLEU(), "chrF": CHRF()}, [ordered], test_type="bs", n_samples=samples)
    signatures, scores = test()
    bleu, chrf = (results for name, results in scores.items() if name != "System")
    by_sentence = [[CHRF().sentence_score(h, [r]).score for h, r in zip(s, ordered, strict=True)] for _, s in systems]
    lines = []
    for n, (name, output) in enumerate(outputs.items()):
        pairs = list(zip(by_sentence[n], by_sentence[0], strict=True))
        same = n > 0 and systems[n][1] == systems[0][1]
        line = [name, *_cells(bleu[n], same), *_cells(chrf[n], same)]
        line += [sum(own > base for own, base in pairs), sum(own < base for own, base in pairs)]
        lines.append([*line, f"{output.rows:,}" if output.rows else "-", output.seconds])
    return "\n".join([tabulate(lines, HEADERS, floatfmt=".2f", missingval="-"), *map(str, signatures.values())])


def _cells(result, same: bool) -> list[str]:
    """Return the score, half the width of its bootstrap interval, and the p-value against the baseline.

    The mean of the bootstrap is not shown: it differs from the score, which would seem to be outside its interval.

    The p-value reads "equal" if the output equals the baseline's: sacrebleu counts differences above 0, and would
    report the smallest possible p-value.
    """
    p_value = "equal" if same else "baseline" if result.p_value is None else f"{result.p_value:.4f}"
    return [f"{result.score:.2f}", f"±{result.ci:.2f}", p_value]
