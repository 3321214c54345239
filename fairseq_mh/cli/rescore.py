#!/usr/bin/env python3
"""Order n-best lists of any system by a CMLM's energy, or an Electric's.

    python scripts/rescore.py DATA nbest.txt [more.txt ...] --sentencepiece spm.model > rescored.txt
    python scripts/rescore.py DATA nbest.txt --energy electric --electric electric.pt > rescored.txt

Reads `fairseq-generate` output; all D- lines of a sentence, in all of the files, are its candidates. Prints S-, T-, H-
and D- lines, best first, scored by minus the energy a token (in base 2, as fairseq does): `compare.py` reads them.
Without --sentencepiece the D- lines must be pieces already, as `fairseq-generate` prints without --post-process.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece
import torch
from torch import Tensor
from tqdm import tqdm

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import read_nbest, read_output
from fairseq_mh.loading import load_checkpoint, parse_generate_options, to_device
from fairseq_mh.masked_lms.cmlm import CMLM, cmlm_of
from fairseq_mh.masked_lms.electric import Electric, load_electric
from fairseq_mh.masked_lms.sentence_pieces import sentence_pieces
from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.translation.options import ONE_PASS_ENERGIES
from fairseq_mh.translation.rescoring import energies

SENTENCES = 20  # at once


class Rescorer(NamedTuple):
    task: Any
    cmlm: CMLM
    electric: Electric | None
    pieces: sentencepiece.SentencePieceProcessor | None
    subset: str

    def target(self, text: str) -> Tensor:
        """The tokens (T,) of a translation."""
        words = " ".join(self.pieces.encode(text, out_type=str)) if self.pieces else text
        return self.cmlm.target(self.task.target_dictionary.encode_line(words, add_if_not_exist=False).long())

    def energies(self, candidates: list[tuple[int, str]], name: str) -> tuple[list[float], int]:
        """Nats a token of each candidate, of the sentence of this number, and the decoder rows that they took."""
        dataset = self.task.dataset(self.subset)
        numbers = sorted({number for number, _ in candidates})
        if numbers[-1] >= len(dataset):
            raise UserError(f"sentence {numbers[-1]} is none of the {len(dataset)} of {self.subset}")
        batch = to_device(self.cmlm.model, dataset.collater([dataset[number] for number in numbers]))
        place = {number: row for row, number in enumerate(batch["id"].tolist())}
        source = batch["net_input"]["src_tokens"], batch["net_input"]["src_lengths"]
        targets = [self.target(text) for _, text in candidates]
        rows = torch.tensor([place[number] for number, _ in candidates])
        found, spent = energies(self.cmlm, self.electric, source, targets, rows, name)
        return [total / max(len(target), 1) for total, target in zip(found.tolist(), targets, strict=True)], spent


def rescorer(args: argparse.Namespace) -> Rescorer:
    """Raises UserError for a checkpoint of another kind."""
    arguments = ["--path", str(args.checkpoint)] if args.checkpoint else []
    task, (model,) = load_checkpoint(parse_generate_options(str(args.data), arguments))
    task.load_dataset(args.subset)
    cmlm = cmlm_of(model, task.target_dictionary)
    electric = load_electric(str(args.electric), task, cmlm) if args.electric else None
    return Rescorer(task, cmlm, electric, sentence_pieces(args.sentencepiece), args.subset)


def pooled(paths: list[Path]) -> dict[int, list[str]]:
    """The candidates of every sentence, each once."""
    found: dict[int, dict[str, None]] = {}
    for path in paths:
        for number, texts in read_nbest(path).items():
            found.setdefault(number, {}).update(dict.fromkeys(texts))
    return {number: list(texts) for number, texts in sorted(found.items())}


def print_best_first(args: argparse.Namespace) -> None:
    """Raises UserError for files that cannot be read, or do not fit the data."""
    first, candidates, model, rows = read_output(args.outputs[0]), pooled(args.outputs), rescorer(args), 0
    numbers = list(candidates)
    for start in tqdm(range(0, len(numbers), SENTENCES), unit=" batches"):
        listed = [(number, text) for number in numbers[start : start + SENTENCES] for text in candidates[number]]
        nats, spent = model.energies(listed, args.energy)
        rows += spent
        best_first = sorted(zip(listed, nats, strict=True), key=lambda entry: (entry[0][0], entry[1]))
        previous = -1
        for (number, text), energy in best_first:
            if number != previous:
                print(f"S-{number}\t{first.sources.get(number, '')}\nT-{number}\t{first.references.get(number, '')}")
            score, previous = -energy / math.log(2), number
            print(f"H-{number}\t{score}\t{text}\nD-{number}\t{score}\t{text}")
    if not rows:
        raise UserError(
            "no candidate is cut into the model's pieces: give its --sentencepiece model, or output as pieces"
        )
    print(f"{len(numbers)} sentences, {sum(map(len, candidates.values()))} candidates, decoder rows so far: {rows}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="fairseq's data folder")
    parser.add_argument("outputs", type=Path, nargs="+", help="of fairseq-generate, as a rule with --nbest")
    parser.add_argument(
        "--energy", default="norm", choices=[*ENERGIES, *ONE_PASS_ENERGIES], help="default: %(default)s"
    )
    parser.add_argument("--checkpoint", type=Path, help="the CMLM; default: DATA/checkpoint.pt")
    parser.add_argument("--electric", type=Path, help="checkpoint of an electric_transformer, with --energy electric")
    parser.add_argument("--subset", default="test", help="default: %(default)s")
    parser.add_argument("--sentencepiece", type=Path, help="the model that cuts text into pieces; default: at blanks")
    args = parser.parse_args()
    try:
        if (args.energy == "electric") != (args.electric is not None):
            raise UserError("--energy electric and --electric CHECKPOINT go together")
        print_best_first(args)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")


if __name__ == "__main__":
    main()
