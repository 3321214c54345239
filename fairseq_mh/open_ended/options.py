"""The options of `fairseq-mh sample`, which grids that draw texts also use."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import torch
from fairseq.dataclass.utils import gen_parser_from_dataclass

from fairseq_mh.errors import BAD_SEED, SEEDS, UserError, one_line, refuse, too_many, unknown_option
from fairseq_mh.files.chunks import by_content
from fairseq_mh.sampler_config import SamplerConfig, check_sampler
from fairseq_mh.template import check_template

# The paper's settings: they sample the energy's distribution at temperature 1 instead of searching for its modes.
SAMPLER_DEFAULTS: dict[str, Any] = {
    "mh_temperature": 1.0,
    "mh_final_temperature": 1.0,
    "mh_proposal_temperature": 1.0,
    "mh_block_size": 1,
    "mh_scan": "random",
    "mh_sweeps": 33,
}
MODEL_FILES = ("model", "sentencepiece_model")  # options that name files, whose content decides the texts
SAMPLER_FIELDS = [field.name for field in fields(SamplerConfig) if field.name.startswith("mh_")]


@dataclass(frozen=True)
class TextOptions:
    """The options of `fairseq-mh sample`: a model, the texts to draw, and the sampler."""

    model: Path  # folder of a Hugging Face model, or checkpoint of a fairseq RoBERTa
    output: Path  # the folder to write
    chains: int  # number of texts
    length: tuple[int, int]  # minimum and maximum number of symbols in an open blank
    text: str  # the template, with blanks
    batch_size: int  # number of chains that run at once
    seed: int
    device: str
    sentencepiece_model: Path | None
    sampler: SamplerConfig

    @property
    def lengths(self) -> range:
        """The possible numbers of symbols of an open blank."""
        return range(self.length[0], self.length[1] + 1)

    def batches(self) -> list[range]:
        """Return the numbers of the chains that run at once."""
        numbers = range(self.chains)
        return [numbers[first : first + self.batch_size] for first in numbers[:: self.batch_size]]

    def identity(self) -> dict[str, Any]:
        """Return all options that decide the texts, by name."""
        own = {name: value for name, value in vars(self).items() if name not in ("output", "device", "sampler")}
        return by_content(own, MODEL_FILES) | {name: getattr(self.sampler, name) for name in SAMPLER_FIELDS}


def add_text_options(parser: ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    parser.add_argument("model", type=Path, help="folder of a Hugging Face model, or checkpoint of a fairseq RoBERTa")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--chains", type=int, default=100, help="number of texts; default: %(default)s")
    parser.add_argument(
        "--length",
        type=int,
        nargs=2,
        default=(15, 45),
        metavar=("MIN", "MAX"),
        help="minimum and maximum number of symbols in an open blank {}; default: 15 45",
    )
    parser.add_argument("--text", default="{}", help="the text; {3} is a blank of 3 symbols, {} one of a random number")
    parser.add_argument("--batch-size", type=int, default=25, help="chains to run at once; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random draws; default: %(default)s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="device of the model; default: %(default)s")
    parser.add_argument(
        "--sentencepiece-model", type=Path, help="for a fairseq RoBERTa: the SentencePiece model of its pieces"
    )
    group = parser.add_argument_group("the sampler's options")
    gen_parser_from_dataclass(group, SamplerConfig())
    parser.set_defaults(**SAMPLER_DEFAULTS)
    for action in group._group_actions:
        if action.default is not None:
            action.help = f"{action.help}; default: %(default)s"


def text_options(args: Namespace) -> TextOptions:
    """Return the options from arguments that a parser with `add_text_options` has read."""
    given = vars(args)
    names = [field.name for field in fields(TextOptions) if field.name not in ("length", "sampler")]
    sampler = SamplerConfig(**{name: given[name] for name in SAMPLER_FIELDS})
    return TextOptions(length=tuple(args.length), sampler=sampler, **{name: given[name] for name in names})


def parse_text_options(arguments: Sequence[str]) -> TextOptions:
    """Parse a command line of `fairseq-mh sample`.

    Raises:
        UserError: if the command line cannot be parsed.
    """
    parser = _Parser(allow_abbrev=False)
    add_text_options(parser)
    return text_options(parser.parse_args(arguments))


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(unknown_option(message, self._option_string_actions))


def check_device(name: str) -> None:
    """Check the value of `--device`.

    Raises:
        UserError: if torch cannot use this device.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without CUDA
        raise UserError(f"--device {name} cannot be used: {one_line(error)}") from None


def check_text_options(options: TextOptions) -> None:
    """Check the options before anything is loaded or written.

    Raises:
        UserError: if an option cannot be used.
    """
    check_sampler(options.sampler)
    shortest, longest = options.length
    check_device(options.device)
    refusals = {
        "--length MIN MAX must be 1 or more, and MIN at most MAX": not 1 <= shortest <= longest,
        "--chains must be 1 or more": options.chains < 1,
        "--batch-size must be 1 or more": options.batch_size < 1,
        BAD_SEED: options.seed not in SEEDS,
        "--sentencepiece-model is for a fairseq checkpoint": (
            options.sentencepiece_model is not None and options.model.suffix != ".pt"
        ),
    }
    refuse(refusals | too_many(length=longest, chains=options.chains, batch_size=options.batch_size))
    check_template(options.text)
