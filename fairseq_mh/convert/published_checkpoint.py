"""Converts the checkpoints that Mask-Predict's authors published into checkpoints that this package decodes."""

import io
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from torch import Tensor

from fairseq_mh.architectures.mask_predict_transformer import MASK, MaskPredictTransformer
from fairseq_mh.convert.published_format import CHECKPOINT, KEPT, SHARED, Files, fairseq_names, load_published
from fairseq_mh.errors import UserError, one_line, reason
from fairseq_mh.files.checkpoints import UNTRAINED
from fairseq_mh.files.chunks import whole_folder


def dictionary_of(files: Files, language: str) -> tuple[str, Dictionary]:
    """Return the text of a dictionary, with a line for <mask>, which published files leave out, and the dictionary.

    Raises:
        UserError: if the file is missing or cannot be read.
    """
    name = f"dict.{language}.txt"
    if name not in files:
        raise UserError(f"{name} is missing")
    dictionary = Dictionary()
    try:
        text = f"{MASK} 0\n" + files[name].decode("utf-8-sig")
        dictionary.add_from_file(io.StringIO(text))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name} cannot be read: {reason(error)}") from None
    return text, dictionary


def converted_arguments(old: Namespace) -> Namespace:
    """Return the arguments of a `mask_predict_transformer` with the same sizes."""
    args = Namespace(**{name: getattr(old, name) for name in (*KEPT, *SHARED, "source_lang", "target_lang")})
    args.share_decoder_input_output_embed |= args.share_all_embeddings
    args.arch, args.task, args.criterion = "mask_predict_transformer", "translation_mh", "nat_loss"
    ARCH_CONFIG_REGISTRY[args.arch](args)
    return args


def converted_weights(
    args: Namespace, old: dict[str, Tensor], source: Dictionary, target: Dictionary
) -> dict[str, Tensor]:
    """Return the weights, renamed for the model of these arguments and dictionaries.

    Raises:
        UserError: if the weights do not fit that model.
    """
    try:
        weights = fairseq_names(old)
        model = MaskPredictTransformer.build_model(args, Namespace(source_dictionary=source, target_dictionary=target))
        model.load_state_dict(dict(weights), strict=True)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f"{CHECKPOINT}: {one_line(error)}") from None
    found = model.state_dict()
    unlike = [name for name, weight in weights.items() if not torch.equal(found[name], weight.to(found[name]))]
    if unlike:  # loading them would lose one of two tables
        raise UserError(f"{CHECKPOINT}: {', '.join(unlike)} should be shared, but differ")
    return weights


def convert(files: Files, out: Path) -> Namespace:
    """Write a folder with `checkpoint.pt` and the two dictionaries.

    Args:
        files: the published files, as `files_of` reads them.
        out: the folder, which must not exist.

    Returns:
        The arguments of the new checkpoint.

    Raises:
        UserError: if a file is missing or is not what its name says, before anything is written; or if the folder
            cannot be written.
    """
    if CHECKPOINT not in files:
        raise UserError(f"{CHECKPOINT} is missing")
    old, weights = load_published(files[CHECKPOINT])
    languages = (old.source_lang, old.target_lang)
    texts, (source, target) = zip(*(dictionary_of(files, language) for language in languages), strict=True)
    args = converted_arguments(old)
    weights = converted_weights(args, weights, source, target)
    state = {"args": args, "model": weights, **UNTRAINED}
    with whole_folder(out) as folder:
        torch.save(state, folder / "checkpoint.pt")
        for language, text in zip(languages, texts, strict=True):
            (folder / f"dict.{language}.txt").write_text(text, encoding="utf-8")
    return args
