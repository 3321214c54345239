"""Decoders by name: `--mh-preset` is a list of options that stand before the user's own, so that the user's win."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import pairwise

from fairseq_mh.errors import UserError, did_you_mean

PRESETS: dict[str, tuple[str, ...]] = {
    # The options' own defaults: three chains of informed blocks from the masked target, annealed.
    "default": (),
    # Two-stream chains from mask-predict at the likeliest of five lengths: the most quality for its rows.
    "fast": (
        *("--mh-energy", "two-stream", "--mh-init", "mask-predict", "--mh-length-select", "mask-predict"),
        *("--iter-decode-with-beam", "5", "--iter-decode-max-iter", "9"),
        *("--mh-block-size", "1", "--mh-scan", "random", "--mh-chains", "3", "--mh-sweeps", "3"),
    ),
    # Two ways to begin at each of five lengths, compared by the length model: the best translations, with an expert or
    # without. Minimum Bayes risk over them gained nothing more on validation.
    "best": (
        *("--mh-energy", "two-stream", "--mh-init", "mixed", "--mh-chains", "2", "--mh-sweeps", "3"),
        *("--iter-decode-with-beam", "5", "--iter-decode-max-iter", "9"),
        *("--mh-length-select", "length-model", "--mh-length-reward", "0.2"),
    ),
    # The paper's annealed chain: single sites from a greedy fill (its Table 5; the temperatures are ours).
    "paper": (
        *("--mh-energy", "norm", "--mh-init", "warm-start", "--mh-block-size", "1", "--mh-scan", "random"),
        *("--mh-chains", "1", "--mh-sweeps", "33", "--mh-temperature", "0.5", "--mh-final-temperature", "0.02"),
        *("--mh-proposal-temperature", "1"),
    ),
    # Samples of exp(-E) instead of its modes: a constant temperature of 1, and each chain's last state.
    "sample": (
        *("--mh-energy", "norm", "--mh-temperature", "1", "--mh-final-temperature", "1"),
        *("--mh-proposal-temperature", "1", "--mh-block-size", "1", "--mh-scan", "random"),
        *("--mh-burn-in", "7", "--mh-sweeps", "33", "--mh-select", "last"),
    ),
}
OPTION = "--mh-preset"


def with_preset(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the options of the preset that it names in front of its own.

    Raises:
        UserError: for a preset of another name.
    """
    names = [value for option, value in pairwise(arguments) if option == OPTION]
    names += [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{OPTION}=")]
    if not names:
        return list(arguments)
    if names[-1] not in PRESETS:
        listed = ", ".join(PRESETS)
        raise UserError(f"{OPTION} {names[-1]}: the presets are {listed}{did_you_mean(names[-1], PRESETS)}")
    return [*PRESETS[names[-1]], *arguments]


def accept_presets(parser: ArgumentParser) -> None:
    """Make a parser that knows the plugin's options read `--mh-preset` as the options that it stands for."""
    parse_known_args = parser.parse_known_args

    def parse(args=None, namespace=None):
        return parse_known_args(with_preset(sys.argv[1:] if args is None else args), namespace)

    parser.parse_known_args = parse  # type: ignore[method-assign]
