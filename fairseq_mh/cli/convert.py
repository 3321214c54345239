"""Convert a checkpoint that Mask-Predict's authors published into one that this package can decode.

    fairseq-mh convert maskPredict_de_en.tar.gz out/mask-predict-de-en

OUTPUT then holds checkpoint.pt (a mask_predict_transformer) and the two dictionaries for binarising data. SOURCE may
also be the unpacked folder of the archive. The checkpoint is a pickle, but torch's safe loader executes nothing in it.
The published weights are licensed CC-BY-NC 4.0.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.convert.published_checkpoint import convert
from fairseq_mh.convert.published_format import files_of
from fairseq_mh.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="the downloaded archive, or its unpacked folder")
    parser.add_argument("output", type=Path, help="the folder to write, which must not exist")


def run(args: Namespace) -> None:
    if args.output.exists():
        raise UserError(f"{args.output} already exists")
    made = convert(files_of(args.source), args.output)
    print(next_commands(args.output, made.source_lang, made.target_lang))
    print(f"{args.output} is written: checkpoint.pt, dict.{made.source_lang}.txt and dict.{made.target_lang}.txt")


def next_commands(out: Path, src: str, tgt: str) -> str:
    """Return the commands that binarise a text with the converted dictionaries and translate it."""
    return f"""Next steps, if TEXT.{src} and TEXT.{tgt} are cut into the BPE pieces of the dictionaries:
  fairseq-preprocess --source-lang {src} --target-lang {tgt} --testpref TEXT --destdir {out} \\
    --srcdict {out}/dict.{src}.txt --tgtdict {out}/dict.{tgt}.txt
  fairseq-generate {out} --user-dir $(fairseq-mh user-dir) --task translation_mh --path {out}/checkpoint.pt \\
    --gen-subset test --post-process subword_nmt"""
