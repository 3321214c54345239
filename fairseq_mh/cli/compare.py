#!/usr/bin/env python3
"""Compare outputs of `fairseq-generate`: sacrebleu's paired bootstrap, wins and losses, cost.

    python scripts/compare.py mask-predict.txt mh.txt [more.txt ...] --reference test.en

The first one is the baseline. A win is a sentence whose chrF is higher than the baseline's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from tabulate import tabulate

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import Output, in_order, read_output, read_references

HEADERS = ("output", "BLEU", "95 %", "p", "chrF", "95 %", "p", "wins", "losses", "rows", "seconds")


def of_common_sentences(outputs: dict[str, Output]) -> dict[str, Output]:
    """The outputs, cut down to the sentences that all of them translate.

    Raises:
        UserError: where there is none.
    """
    common = set.intersection(*(set(output.hypotheses) for output in outputs.values()))
    if not common:
        raise UserError("no sentence is in all of the outputs")
    return {
        name: output._replace(hypotheses={n: text for n, text in output.hypotheses.items() if n in common})
        for name, output in outputs.items()
    }


def compare(outputs: dict[str, Output], references: dict[int, str], samples: int) -> str:
    """The table.

    Raises:
        UserError: where the outputs are not of the same sentences.
    """
    first = next(iter(outputs.values()))
    for name, output in outputs.items():
        if output.hypotheses.keys() != first.hypotheses.keys():
            raise UserError(f"{name} is not of the same sentences as the first output (--common)")
    systems: list[tuple[str, Sequence[str]]] = [
        (name, in_order(output.hypotheses, references)[0]) for name, output in outputs.items()
    ]
    right = in_order(first.hypotheses, references)[1]
    test = PairedTest(systems, {"BLEU": BLEU(), "chrF": CHRF()}, [right], test_type="bs", n_samples=samples)
    signatures, scores = test()
    bleu, chrf = (results for name, results in scores.items() if name != "System")
    by_sentence = [[CHRF().sentence_score(h, [r]).score for h, r in zip(s, right, strict=True)] for _, s in systems]
    lines = []
    for n, (name, output) in enumerate(outputs.items()):
        against = list(zip(by_sentence[n], by_sentence[0], strict=True))
        same = n > 0 and systems[n][1] == systems[0][1]
        line = [name, *figures(bleu[n], same), *figures(chrf[n], same)]
        line += [sum(mine > base for mine, base in against), sum(mine < base for mine, base in against)]
        lines.append([*line, f"{output.rows:,}" if output.rows else "-", output.seconds])
    return "\n".join([tabulate(lines, HEADERS, floatfmt=".2f", missingval="-"), *map(str, signatures.values())])


def figures(result, same: bool) -> list[str]:
    """Score, interval of the bootstrap, p-value against the baseline.

    sacrebleu gives equal outputs the smallest p-value there is (it counts differences above 0); they have none.
    """
    p_value = "equal" if same else "baseline" if result.p_value is None else f"{result.p_value:.4f}"
    return [f"{result.score:.2f}", f"{result.mean:.2f} ± {result.ci:.2f}", p_value]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outputs", type=Path, nargs="+", help="the baseline, and others")
    parser.add_argument("--reference", type=Path, help="plain text, a sentence a line; default: the outputs' T- lines")
    parser.add_argument("--samples", type=int, default=1000, help="of the bootstrap; default: %(default)s")
    parser.add_argument("--common", action="store_true", help="of the sentences that all outputs hold; cost is of all")
    args = parser.parse_args()
    try:
        if len(args.outputs) < 2:
            raise UserError("there is nothing to compare: give two outputs or more")
        outputs = {str(path): read_output(path) for path in args.outputs}
        if args.common:
            outputs = of_common_sentences(outputs)
            print(f"{len(next(iter(outputs.values())).hypotheses)} sentences")
        references = read_references(args.reference) if args.reference else next(iter(outputs.values())).references
        print(compare(outputs, references, args.samples))
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")


if __name__ == "__main__":
    main()
