"""Reads Mask-Predict's published checkpoints without executing their code, and renames weights as in fairseq."""

import io
import lzma
import re
import tarfile
import zlib
from argparse import Namespace
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from fairseq_mh.errors import UserError, foreign_kind

CHECKPOINT, DICTIONARY = "checkpoint_best.pt", re.compile(r"dict\.[\w-]+\.txt")
FORMAT = {"arch": "bert_transformer_seq2seq", "task": "translation_self"}
SIZES = ("embed_dim", "ffn_embed_dim", "layers", "attention_heads")
KEPT = (
    *(f"{side}_{size}" for side in ("encoder", "decoder") for size in SIZES),
    *("max_source_positions", "max_target_positions", "dropout", "attention_dropout", "label_smoothing"),
)
SHARED = ("share_all_embeddings", "share_decoder_input_output_embed")
RENAMED = (
    (r"^(encoder\.layers\.\d+)\.layer_norms\.0\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+)\.layer_norms\.1\.", r"\1.final_layer_norm."),
    (r"_norm\.gamma$", "_norm.weight"),
    (r"_norm\.beta$", "_norm.bias"),
    (r"^decoder\.embed_out$", "decoder.output_projection.weight"),
)
FUSED = re.compile(r"(.*)\.in_proj_(weight|bias)")
VERSION = re.compile(r"(encoder|decoder)\.version")  # the format's version; fairseq has other numbers

# Trainers of that time stored these meters in their checkpoints. Nothing reads them, so empty classes are enough.
METERS = [(type(name, (), {}), f"fairseq.meters.{name}") for name in ("AverageMeter", "TimeMeter", "StopwatchMeter")]

Files = dict[str, bytes]  # file name without folder -> content


def files_of(source: Path) -> Files:
    """Read the checkpoint and the dictionaries from a folder or a tar archive, which is not unpacked to disk.

    Raises:
        UserError: if the source does not exist or is damaged, or if a member of the archive leads out of it.
    """
    if not source.exists():
        raise UserError(f"{source} does not exist")
    if source.is_dir():
        paths = [path for path in source.iterdir() if _wanted(path.name)]
        return {path.name: path.read_bytes() for path in paths}
    try:
        with tarfile.open(source) as archive:
            members = {member: PurePosixPath(member.name) for member in archive.getmembers()}
            for member, path in members.items():
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"{source} is refused: it contains {member.name!r}, which leads out of it")
            contents = (
                (path.name, archive.extractfile(member)) for member, path in members.items() if _wanted(path.name)
            )
            files = {name: content.read() for name, content in contents if content}
            while archive.fileobj and archive.fileobj.read(2**20):  # the checksum is at the end
                pass
            return files
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{source} cannot be read as an archive ({error})") from None


def _wanted(name: str) -> bool:
    """Return whether a file is the checkpoint or a dictionary."""
    return name == CHECKPOINT or bool(DICTIONARY.fullmatch(name))


def load_published(content: bytes) -> tuple[Namespace, dict[str, Tensor]]:
    """Return the arguments and the weights of a checkpoint in the published format.

    Raises:
        UserError: if it is damaged, holds more than data, or has another format.
    """
    torch.serialization.add_safe_globals([Namespace, *METERS])
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise any error
        kind = foreign_kind(error)
        reason = f"it holds {kind}, which is not data" if kind else "it is damaged, or not a checkpoint"
        raise UserError(f"{CHECKPOINT} cannot be loaded: {reason}") from None
    args, weights = (state.get(key) if isinstance(state, dict) else None for key in ("args", "model"))
    named = isinstance(weights, dict) and all(isinstance(w, Tensor) and isinstance(n, str) for n, w in weights.items())
    if not isinstance(args, Namespace) or not isinstance(weights, dict) or not named:
        raise UserError(f"{CHECKPOINT} contains no arguments and weights of a Mask-Predict model")
    for name, expected in FORMAT.items():
        found = getattr(args, name, None)
        if found != expected:
            raise UserError(f"{CHECKPOINT} has {name} {found!r}; Mask-Predict's checkpoints have {expected!r}")
    missing = [name for name in (*KEPT, *SHARED, "source_lang", "target_lang") if not hasattr(args, name)]
    if missing:
        raise UserError(f"{CHECKPOINT} lacks the arguments {', '.join(missing)}")
    return args, weights


def fairseq_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with fairseq's names; fused projections are split into their three parts."""
    result = {}
    for name, weight in weights.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        fused = FUSED.fullmatch(name)
        if fused:
            for part, piece in zip("qkv", weight.chunk(3), strict=True):
                result[f"{fused[1]}.{part}_proj.{fused[2]}"] = piece.clone()
        else:
            result[name] = torch.tensor([3.0]) if VERSION.fullmatch(name) else weight
    if "decoder.embed_tokens.weight" in result:  # the output projection shares this weight, unless it has its own
        result.setdefault("decoder.output_projection.weight", result["decoder.embed_tokens.weight"])
    return result
