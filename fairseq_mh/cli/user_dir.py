"""Print the folder for the option --user-dir of fairseq's programs.

fairseq-generate DATA --user-dir $(fairseq-mh user-dir) --task translation_mh --path checkpoint.pt
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import fairseq_mh


def add_arguments(parser: ArgumentParser) -> None:
    pass


def run(args: Namespace) -> None:
    print(Path(fairseq_mh.__file__).parent)
