"""Named sets of options: `--mh-preset` puts options in front of the user's own, which override them."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import pairwise

from fairseq_mh.errors import UserError, did_you_mean

PRESETS: dict[str, tuple[str, ...]] = {
    # The defaults of the options: three annealed chains from the masked target, with informed blocks.
    "default": (),
    # Mask-predict at five lengths, ordered by the energy, without any sweep: the best quality for its number of rows.
    "rerank": (
        *("--mh-energy", "two-stream", "--mh-init", "mask-predict", "--mh-chains", "1", "--mh-sweeps", "0"),
        *("--iter-decode-with-beam", "5", "--iter-decode-max-iter", "9"),
        *("--mh-length-select", "length-model", "--mh-length-reward", "0.4"),
    ),
    # Two-stream chains from mask-predict at the likeliest of five lengths.
    "fast": (
        *("--mh-energy", "two-stream", "--mh-init", "mask-predict", "--mh-length-select", "mask-predict"),
        *("--iter-decode-with-beam", "5", "--iter-decode-max-iter", "9"),
        *("--mh-block-size", "1", "--mh-scan", "random", "--mh-chains", "3", "--mh-sweeps", "3"),
    ),
    # Two kinds of starts at each of five lengths, compared by the length model: the best translations, with or without
    # an expert. Minimum Bayes risk did not improve them on validation data.
    "best": (
        *("--mh-energy", "two-stream", "--mh-init", "mixed", "--mh-chains", "2", "--mh-sweeps", "3"),
        *("--iter-decode-with-beam", "5", "--iter-decode-max-iter", "9"),
        *("--mh-length-select", "length-model", "--mh-length-reward", "0.4"),
    ),
    # The paper's annealed chain: single sites from a greedy fill (Table 5 of the paper; we chose the temperatures).
    "paper": (
        *("--mh-energy", "norm", "--mh-init", "warm-start", "--mh-block-size", "1", "--mh-scan", "random"),
        *("--mh-chains", "1", "--mh-sweeps", "33", "--mh-temperature", "0.5", "--mh-final-temperature", "0.02"),
        *("--mh-proposal-temperature", "1"),
    ),
    # Samples from exp(-E) instead of its modes: a constant temperature of 1, and each chain's last state.
    "sample": (
        *("--mh-energy", "norm", "--mh-temperature", "1", "--mh-final-temperature", "1"),
        *("--mh-proposal-temperature", "1", "--mh-block-size", "1", "--mh-scan", "random"),
        *("--mh-burn-in", "7", "--mh-sweeps", "33", "--mh-select", "last"),
    ),
}
OPTION = "--mh-preset"


def with_preset(arguments: Sequence[str]) -> list[str]:
    """Put the options of the preset that a command line names in front of its own options.

    Raises:
        UserError: if there is no preset of this name.
    """
    names = [value for option, value in pairwise(arguments) if option == OPTION]
    names += [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{OPTION}=")]
    if not names:
        return list(arguments)
    if names[-1] not in PRESETS:
        listed = ", ".join(PRESETS)
        near = did_you_mean(names[-1], PRESETS)
        raise UserError(f"{OPTION} {names[-1]}: there is no such preset; the presets are {listed}{near}")
    return [*PRESETS[names[-1]], *arguments]


def accept_presets(parser: ArgumentParser) -> None:
    """Make a parser of the plugin's options replace `--mh-preset` by the options of the preset."""
    parse_known_args = parser.parse_known_args

    def parse(args=None, namespace=None):
        return parse_known_args(with_preset(sys.argv[1:] if args is None else args), namespace)

    parser.parse_known_args = parse  # type: ignore[method-assign]
