#!/usr/bin/env python3
"""A checkpoint that Mask-Predict's authors published, as one that this plugin decodes.

    python scripts/convert_mask_predict.py maskPredict_de_en.tar.gz OUT      # or the unpacked folder

OUT then holds `checkpoint.pt` (a `mask_predict_transformer`) and the two dictionaries, with which data are binarised.
The pickled checkpoint is read by torch's safe loader: nothing that it holds is executed. The published weights are
CC-BY-NC 4.0.
"""

import argparse
import io
import re
import shutil
import sys
import tarfile
from argparse import Namespace
from pathlib import Path, PurePosixPath

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.models.mask_predict_transformer import MASK, MaskPredictTransformer

CHECKPOINT, DICTIONARY = "checkpoint_best.pt", re.compile(r"dict\.[\w-]+\.txt")
FORMAT = {"arch": "bert_transformer_seq2seq", "task": "translation_self"}
SIZES = ("embed_dim", "ffn_embed_dim", "layers", "attention_heads")
KEPT = (
    *(f"{side}_{size}" for side in ("encoder", "decoder") for size in SIZES),
    *("max_source_positions", "max_target_positions", "dropout", "attention_dropout", "label_smoothing"),
)
RENAMED = (
    (r"^(encoder\.layers\.\d+)\.layer_norms\.0\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+)\.layer_norms\.1\.", r"\1.final_layer_norm."),
    (r"_norm\.gamma$", "_norm.weight"),
    (r"_norm\.beta$", "_norm.bias"),
)
FUSED = re.compile(r"(.*)\.in_proj_(weight|bias)")
VERSION = re.compile(r"(encoder|decoder)\.version")  # of the format, which fairseq counts in its own way

Files = dict[str, bytes]  # name without folder -> content


def files_of(source: Path) -> Files:
    """The checkpoint and the dictionaries of a folder or an archive; nothing is unpacked to disk."""
    if not source.exists():
        raise UserError(f"{source} does not exist")
    if source.is_dir():
        paths = [path for path in source.iterdir() if _wanted(path.name)]
        return {path.name: path.read_bytes() for path in paths}
    try:
        with tarfile.open(source) as archive:
            members = archive.getmembers()
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise UserError(
                        f"{source} holds {member.name!r}, which leads out of it: the archive is not trusted"
                    )
            wanted = {PurePosixPath(member.name).name: member for member in members if member.isfile()}
            return {name: archive.extractfile(m).read() for name, m in wanted.items() if _wanted(name)}  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{source} is no readable archive ({error})") from None


def _wanted(name: str) -> bool:
    return name == CHECKPOINT or bool(DICTIONARY.fullmatch(name))


def load(content: bytes) -> tuple[Namespace, dict[str, Tensor]]:
    """The arguments and the weights of a checkpoint in the published format."""
    torch.serialization.add_safe_globals([Namespace])
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {foreign[1]}, which is no data" if foreign else "it is damaged, or no checkpoint"
        raise UserError(f"{CHECKPOINT} was not loaded: {reason}") from None
    args, weights = (state.get(key) if isinstance(state, dict) else None for key in ("args", "model"))
    if not isinstance(args, Namespace) or not isinstance(weights, dict):
        raise UserError(f"{CHECKPOINT} holds no arguments and weights of a Mask-Predict model")
    for name, expected in FORMAT.items():
        found = getattr(args, name, None)
        if found != expected:
            raise UserError(f"{CHECKPOINT} has {name} {found!r}; Mask-Predict's have {expected!r}")
    missing = [name for name in (*KEPT, "source_lang", "target_lang") if not hasattr(args, name)]
    if missing:
        raise UserError(f"{CHECKPOINT} lacks the arguments {', '.join(missing)}")
    return args, weights


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under fairseq's names, fused projections taken apart."""
    result = {}
    for name, weight in weights.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        fused = FUSED.fullmatch(name)
        if fused:
            for part, own in zip("qkv", weight.chunk(3), strict=True):
                result[f"{fused[1]}.{part}_proj.{fused[2]}"] = own.clone()
        else:
            result[name] = torch.tensor([3.0]) if VERSION.fullmatch(name) else weight
    result["decoder.output_projection.weight"] = result.get("decoder.embed_tokens.weight")
    return result


def dictionary_of(files: Files, language: str) -> tuple[str, Dictionary]:
    """The dictionary's file with a line for <mask>, which the published ones leave out, and the dictionary."""
    name = f"dict.{language}.txt"
    if name not in files:
        raise UserError(f"{name} is missing")
    text = f"{MASK} 0\n" + files[name].decode("utf-8")
    dictionary = Dictionary()
    try:
        dictionary.add_from_file(io.StringIO(text))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name} cannot be read: {error}") from None
    return text, dictionary


def arguments(old: Namespace, shared: bool) -> Namespace:
    """Those of a `mask_predict_transformer`."""
    args = Namespace(**{name: getattr(old, name) for name in KEPT})
    args.arch, args.task, args.criterion = "mask_predict_transformer", "translation_mh", "nat_loss"
    args.source_lang, args.target_lang = old.source_lang, old.target_lang
    args.share_all_embeddings, args.share_decoder_input_output_embed = shared, True
    ARCH_CONFIG_REGISTRY[args.arch](args)
    return args


def convert(files: Files, out: Path) -> Namespace:
    """Write OUT; returns the new arguments. Raises UserError before anything is written."""
    if CHECKPOINT not in files:
        raise UserError(f"{CHECKPOINT} is missing")
    old, weights = load(files[CHECKPOINT])
    languages = (old.source_lang, old.target_lang)
    texts, (source, target) = zip(*(dictionary_of(files, language) for language in languages), strict=True)
    args = arguments(old, shared=source == target)
    model = MaskPredictTransformer.build_model(args, Namespace(source_dictionary=source, target_dictionary=target))
    weights = renamed(weights)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(f"{CHECKPOINT}: {' '.join(str(error).split())[:300]}") from None
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
    part = out.with_name(f"{out.name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        torch.save(state, part / "checkpoint.pt")
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
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
