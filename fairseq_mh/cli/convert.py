#!/usr/bin/env python3
"""A checkpoint that Mask-Predict's authors published, as one that this plugin decodes.

    python scripts/convert_mask_predict.py maskPredict_de_en.tar.gz OUT      # or the unpacked folder

OUT then holds `checkpoint.pt` (a `mask_predict_transformer`) and the two dictionaries, with which data are binarised.
The pickled checkpoint is read by torch's safe loader: nothing that it holds is executed. The published weights are
CC-BY-NC 4.0.
"""

import argparse
import io
import shutil
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from torch import Tensor

from fairseq_mh.errors import UserError, one_line
from fairseq_mh.files.published_format import CHECKPOINT, KEPT, SHARED, Files, files_of, load, renamed
from fairseq_mh.models.mask_predict_transformer import MASK, MaskPredictTransformer


def dictionary_of(files: Files, language: str) -> tuple[str, Dictionary]:
    """The dictionary's file with a line for <mask>, which the published ones leave out, and the dictionary."""
    name = f"dict.{language}.txt"
    if name not in files:
        raise UserError(f"{name} is missing")
    dictionary = Dictionary()
    try:
        text = f"{MASK} 0\n" + files[name].decode("utf-8")
        dictionary.add_from_file(io.StringIO(text))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name} cannot be read: {error}") from None
    return text, dictionary


def arguments(old: Namespace) -> Namespace:
    """Those of a `mask_predict_transformer`."""
    args = Namespace(**{name: getattr(old, name) for name in (*KEPT, *SHARED, "source_lang", "target_lang")})
    args.share_decoder_input_output_embed |= args.share_all_embeddings
    args.arch, args.task, args.criterion = "mask_predict_transformer", "translation_mh", "nat_loss"
    ARCH_CONFIG_REGISTRY[args.arch](args)
    return args


def renamed_weights(
    args: Namespace, old: dict[str, Tensor], source: Dictionary, target: Dictionary
) -> dict[str, Tensor]:
    """Those of that model. Raises UserError where they are not."""
    try:
        weights = renamed(old)
        model = MaskPredictTransformer.build_model(args, Namespace(source_dictionary=source, target_dictionary=target))
        model.load_state_dict(dict(weights), strict=True)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f"{CHECKPOINT}: {one_line(error)}") from None
    found = model.state_dict()
    unlike = [name for name, weight in weights.items() if not torch.equal(found[name], weight.to(found[name]))]
    if unlike:  # one of two tables would be lost
        raise UserError(f"{CHECKPOINT}: {', '.join(unlike)} should be shared, and differ")
    return weights


def convert(files: Files, out: Path) -> Namespace:
    """Write OUT; returns the new arguments. Raises UserError before anything is written."""
    if CHECKPOINT not in files:
        raise UserError(f"{CHECKPOINT} is missing")
    old, weights = load(files[CHECKPOINT])
    languages = (old.source_lang, old.target_lang)
    texts, (source, target) = zip(*(dictionary_of(files, language) for language in languages), strict=True)
    args = arguments(old)
    weights = renamed_weights(args, weights, source, target)
    state = {
        "args": args,
        "model": weights,
        "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    write(state, {f"dict.{language}.txt": text for language, text in zip(languages, texts, strict=True)}, out)
    return args


def write(state: dict, texts: dict[str, str], out: Path) -> None:
    """All of it or nothing."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}") from None
    try:
        torch.save(state, part / "checkpoint.pt")
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
        part.chmod(0o755)
        part.rename(out)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk by the latter
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"{out} cannot be written: {str(error).splitlines()[0]}") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the downloaded archive, or the folder that it unpacks to")
    parser.add_argument("output", type=Path, help="a new folder")
    given = parser.parse_args()
    try:
        if given.output.exists():
            raise UserError(f"{given.output} exists already")
        args = convert(files_of(given.source), given.output)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    src, tgt, out = args.source_lang, args.target_lang, given.output
    print(f"""{out} is written. Next, with TEXT.{src} and TEXT.{tgt} in the BPE pieces of its dictionaries:
  fairseq-preprocess --source-lang {src} --target-lang {tgt} --testpref TEXT --destdir {out} \\
    --srcdict {out}/dict.{src}.txt --tgtdict {out}/dict.{tgt}.txt
  fairseq-generate {out} --user-dir fairseq_mh --task translation_mh --path {out}/checkpoint.pt --gen-subset test \\
    --post-process subword_nmt""")


if __name__ == "__main__":
    main()
