"""A tiny random CMLM on disk, with data, and functions that run command lines in this or another process."""

import io
import json
import subprocess
import sys
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import Dictionary, indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.nat import CMLMNATransformerModel
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
from omegaconf import OmegaConf

import fairseq_mh
import fairseq_mh.tasks.translation_mh  # `--user-dir` registers nothing once the package is imported
from tests.configurations import keep_composed
from tests.programs import run_program

WORDS = "abc"
keep_composed()


class Tiny(NamedTuple):
    """A tiny model on disk.

    Attributes:
        folder: the folder with the data and checkpoint.pt.
        dictionary: the dictionary of sources and targets.
    """

    folder: Path
    dictionary: Dictionary


def dictionary_of(words=WORDS) -> Dictionary:
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(word)
    dictionary.finalize(padding_factor=8)  # adds a madeupword, which no state may hold
    return dictionary


def write_data(folder: Path, dictionary: Dictionary, split: str, pairs) -> None:
    for side, language in enumerate(("de", "en")):
        prefix = f"{folder}/{split}.de-en.{language}"
        builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", len(dictionary))
        for pair in pairs:
            builder.add_item(dictionary.encode_line(" ".join(pair[side]), add_if_not_exist=False).long())
        builder.finalize(f"{prefix}.idx")
        dictionary.save(f"{folder}/dict.{language}.txt")


def model_of(dictionary: Dictionary, arch="cmlm_transformer", **options):
    """Return a tiny model with random weights."""
    return _built(dictionary, _arguments(arch, **options)).eval()


def _arguments(arch: str, **options) -> Namespace:
    args = Namespace(arch=arch, task="translation_lev", source_lang="de", target_lang="en", data="")
    args.__dict__.update(encoder_layers=1, decoder_layers=1, encoder_embed_dim=8, decoder_embed_dim=8)
    args.__dict__.update(encoder_ffn_embed_dim=8, decoder_ffn_embed_dim=8, encoder_attention_heads=2)
    args.__dict__.update(decoder_attention_heads=2, max_source_positions=12, max_target_positions=12)
    args.__dict__.update(options)
    ARCH_CONFIG_REGISTRY[arch](args)
    return args


def _built(dictionary: Dictionary, args: Namespace):
    task = TranslationLevenshteinTask(TranslationLevenshteinConfig(), dictionary, dictionary)
    torch.manual_seed(3)
    return task.build_model(args)


def write_checkpoint(path: Path, dictionary: Dictionary, arch="cmlm_transformer", scale=1.0, **options) -> None:
    args = _arguments(arch, **options)
    model = _built(dictionary, args)
    state = {name: weight * scale for name, weight in model.state_dict().items()}
    if "decoder.embed_length.weight" in state:  # fairseq initialises it with 0, so that all lengths are equally likely
        state["decoder.embed_length.weight"] = torch.randn(256, 8)
        state["decoder.embed_length.weight"][:3, 0] = state["decoder.embed_length.weight"][10:, 0] = -2.0
        state["encoder.layers.0.final_layer_norm.bias"][0] += 4.0  # makes lengths of 1 to 7 words likelier
    special = [i for i, symbol in enumerate(dictionary.symbols) if symbol not in WORDS]
    for name in ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection"):  # one shared weight
        state[f"{name}.weight"][special, 0] = -2.0  # with the bias below, words are likelier than other symbols
    state["decoder.layers.0.final_layer_norm.bias"][0] += 4.0
    history = [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}]
    extra = {"train_iterator": {"epoch": 1}}
    # Checkpoints have Hydra's configuration, as in fairseq 0.12: converting arguments at each load would be slow.
    cfg = OmegaConf.to_container(convert_namespace_to_omegaconf(args), resolve=True, enum_to_str=True)
    torch.save({"args": None, "cfg": cfg, "model": state, "optimizer_history": history, "extra_state": extra}, path)


def make_tiny(folder: Path) -> Tiny:
    dictionary = dictionary_of()
    pairs = [("abca", "cab"), ("bb", "ba"), ("cabbac", "abcab"), ("a", "c"), ("acb", "bcaa"), ("bca", "abc")]
    write_data(folder, dictionary, "test", pairs)
    write_data(folder, dictionary, "one", pairs[:1])
    write_checkpoint(folder / "checkpoint.pt", dictionary, scale=1.4, share_all_embeddings=True)
    return Tiny(folder, dictionary)


def command(program: str, tiny: Tiny, *options, checkpoint=None) -> list[str]:
    path = checkpoint or tiny.folder / "checkpoint.pt"
    plugin = str(Path(fairseq_mh.__file__).parent)
    start = [sys.executable, "-m", f"fairseq_cli.{program}", str(tiny.folder), "--user-dir", plugin]
    start += ["--num-workers", "0"] if program == "generate" else []  # a worker takes seconds to end
    return [*start, "--task", "translation_mh", "--path", str(path), *map(str, options)]


def cli(program: str, tiny: Tiny, *options, checkpoint=None, stdin="") -> subprocess.CompletedProcess:
    """Run a command line in a process of its own."""
    _, _, _, *arguments = command(program, tiny, *options, checkpoint=checkpoint)
    return run_program(f"fairseq-{program}", *arguments, stdin=stdin)


def generated_here(tiny: Tiny, *options, checkpoint=None) -> subprocess.CompletedProcess:
    """Run `fairseq-generate` in this process, in a tenth of the time; its excepthook reports mistakes."""
    from fairseq_cli.generate import cli_main

    argv, hook, output, errors = sys.argv, sys.excepthook, io.StringIO(), io.StringIO()
    call = command("generate", tiny, *options, checkpoint=checkpoint)
    sys.argv, status = call[2:], 0
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            try:
                cli_main()
            except SystemExit as ended:
                status = int(ended.code or 0)
            except Exception:
                status = 1
                sys.excepthook(*sys.exc_info())
    finally:
        sys.argv, sys.excepthook = argv, hook
    return subprocess.CompletedProcess(call, status, output.getvalue(), errors.getvalue())


def refused(result) -> str:
    """Check that a run was refused in one line, and return that line."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "H-" not in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("fairseq-mh: error:")]
    assert len(lines) == 1
    return lines[0]


def generate(tiny: Tiny, *options, double=True) -> None:
    """Run `fairseq-generate` in this process, in float64 by default."""
    from fairseq_cli.generate import cli_main

    argv, prepare = sys.argv, CMLMNATransformerModel.prepare_for_inference_
    sys.argv = command("generate", tiny, *options)[2:]
    if double:
        CMLMNATransformerModel.prepare_for_inference_ = lambda model, cfg: (model.double(), prepare(model, cfg))
    try:
        cli_main()
    finally:
        sys.argv, CMLMNATransformerModel.prepare_for_inference_ = argv, prepare


def trace_of(tiny: Tiny, path: Path, *options, double=True) -> list[dict]:
    generate(tiny, "--mh-trace", path, *options, double=double)
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines_of(text: str, kind: str) -> dict[int, list[str]]:
    """Return fairseq's output lines of a kind (H, D, P, I, E): sentence number -> contents, in order."""
    found: dict[int, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(f"{kind}-"):
            number, rest = line[2:].split("\t", 1)
            found.setdefault(int(number.split("_")[0]), []).append(rest)
    return found
