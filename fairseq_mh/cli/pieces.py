"""Train a SentencePiece model on parallel texts, and cut the texts into its pieces.

    fairseq-mh pieces train valid test --languages de en --output out/pieces

Reads train.de, train.en, valid.de and so on, one sentence per line. The model is trained on both languages of the first
text, so that all embeddings can be shared. OUTPUT then holds spm.model, and the texts in pieces under their own names,
for fairseq-preprocess. A small corpus gives fewer pieces than --size.
"""

import io
from argparse import ArgumentParser, Namespace
from pathlib import Path

import sentencepiece

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import UserError, one_line, refuse
from fairseq_mh.files.chunks import whole_folder
from fairseq_mh.files.output import readable_lines


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "texts", nargs="+", metavar="TEXT", help="names of parallel texts, without .LANGUAGE at the end"
    )
    parser.add_argument("--languages", nargs=2, required=True, metavar="LANGUAGE", help="how the files' names end")
    parser.add_argument(
        "--size", type=whole_number(1), default=8000, metavar="N", help="the most pieces; default: 8000"
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder to write, which must not exist")


def run(args: Namespace) -> None:
    names = [Path(text).name for text in args.texts]
    refuse(
        {
            f"{args.output} already exists: choose another folder, or remove it": args.output.exists(),
            "the texts need different names, because they are written into one folder": len({*names}) < len(names),
            "--languages needs two different languages": args.languages[0] == args.languages[1],
        }
    )
    texts = [[Path(f"{text}.{language}") for language in args.languages] for text in args.texts]
    pairs = [pairs_of(*files) for files in texts]
    with whole_folder(args.output) as folder:
        model = trained([line for file in texts[0] for line in readable_lines(file)], args.size)
        (folder / "spm.model").write_bytes(model)
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        for file in (file for pair in texts for file in pair):
            cut = (" ".join(line) + "\n" for line in pieces.encode(readable_lines(file), out_type=str))
            (folder / file.name).write_text("".join(cut), encoding="utf-8")
    counts = ", ".join(f"{name} ({count:,} pairs)" for name, count in zip(names, pairs, strict=True))
    print(f"{args.output} is written: spm.model ({pieces.get_piece_size():,} pieces), {counts}")


def pairs_of(source: Path, target: Path) -> int:
    """Return the number of pairs of a parallel text.

    Raises:
        UserError: if a file cannot be read, or the files have different numbers of lines.
    """
    lines, others = len(readable_lines(source)), len(readable_lines(target))
    if lines != others:
        raise UserError(f"{source} has {lines:,} lines, and {target} has {others:,}: they must be pairs")
    return lines


def trained(lines: list[str], size: int) -> bytes:
    """Train a SentencePiece model, and return the contents of its file.

    Raises:
        UserError: if the lines are empty, or have more characters than there may be pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=size,
            hard_vocab_limit=False,  # a small corpus has fewer pieces
            minloglevel=2,
        )
    except RuntimeError as error:
        refuse(
            {
                "the first text has only empty lines, so that there is nothing to learn pieces from": not any(
                    map(str.strip, lines)
                ),
                f"--size {size} is too small for the characters of the first text": "required_chars" in str(error),
            }
        )
        raise UserError(f"the pieces cannot be trained: {one_line(error)}") from None
    return model.getvalue()
