"""Checkpoints in the published format are converted, decoded and trained; other files are refused."""

import io
import logging
import os
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import types
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_mh.architectures.mask_predict_transformer import MASK, MaskPredictTransformer, random_mask
from fairseq_mh.convert.published_format import load_published
from tests.cli.in_process import called
from tests.files import published_model
from tests.programs import run_program
from tests.tiny_cmlm import Tiny, cli, generated_here, lines_of, write_data

ROOT = Path(__file__).parents[2]
WORDS = ["a", "b", "c", "d"]
SIZES = {
    **{f"{side}_{name}": 8 for side in ("encoder", "decoder") for name in ("embed_dim", "ffn_embed_dim")},
    **{f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")},
    "max_source_positions": 12,
    "max_target_positions": 14,
}
PUBLISHED = Namespace(
    arch="bert_transformer_seq2seq",
    task="translation_self",
    source_lang="de",
    target_lang="en",
    dropout=0.1,
    attention_dropout=0.0,
    label_smoothing=0.1,
    share_all_embeddings=True,
    share_decoder_input_output_embed=False,
    **SIZES,
)


def dictionary() -> Dictionary:
    result = Dictionary()
    for word in (MASK, *WORDS):
        result.add_symbol(word)
    return result


def model(**sharing) -> MaskPredictTransformer:
    args = Namespace(**{**vars(PUBLISHED), "share_decoder_input_output_embed": True, **sharing})
    args.arch = "mask_predict_transformer"
    ARCH_CONFIG_REGISTRY[args.arch](args)
    torch.manual_seed(4)
    task = Namespace(source_dictionary=dictionary(), target_dictionary=dictionary())
    built = MaskPredictTransformer.build_model(args, task)
    for weight in built.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return built.eval()


def published_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with the names of the published checkpoints; this reverses the renaming of the conversion."""
    result = {"encoder.version": torch.ones(1), "decoder.version": torch.ones(1)}
    for name, weight in weights.items():
        name = re.sub(r"norm\.weight$", "norm.gamma", re.sub(r"norm\.bias$", "norm.beta", name))
        if name.startswith("encoder.layers"):
            name = name.replace("self_attn_layer_norm", "layer_norms.0").replace("final_layer_norm", "layer_norms.1")
        fused = re.fullmatch(r"(.*)\.q_proj\.(weight|bias)", name)
        if fused:
            parts = [weights[f"{fused[1]}.{part}_proj.{fused[2]}"] for part in "qkv"]
            result[f"{fused[1]}.in_proj_{fused[2]}"] = torch.cat(parts)
        elif not re.search(r"[kv]_proj|output_projection", name):
            result[name] = weight
    return result


def meters(monkeypatch) -> OrderedDict:
    """Return meters as trainers of that time stored them: objects of a module that fairseq no longer has."""
    module = types.ModuleType("fairseq.meters")
    module.AverageMeter = type("AverageMeter", (), {"__module__": "fairseq.meters"})
    monkeypatch.setitem(sys.modules, "fairseq.meters", module)
    meter = module.AverageMeter()
    meter.val, meter.sum = 1.5, 3.0
    return OrderedDict(train_loss=meter)


def publish(folder: Path, weights: dict[str, torch.Tensor], extra: dict, args=PUBLISHED) -> Path:
    """Write a published model to a folder, with a checkpoint in the old file format of torch."""
    folder.mkdir()
    state = {"args": args, "model": weights, "extra_state": extra, "last_optimizer_state": {"state": {}}}
    torch.save(state, folder / "checkpoint_best.pt", _use_new_zipfile_serialization=False)
    for language in ("de", "en"):
        (folder / f"dict.{language}.txt").write_text("".join(f"{word} 1\n" for word in WORDS))
    return folder


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    extra = {"epoch": 1, "train_meters": meters(monkeypatch)}
    return publish(tmp_path / "published", published_names(model().state_dict()), extra)


def convert(source: Path, out: Path) -> subprocess.CompletedProcess:
    return called("convert", source, out)


def refusal(source: Path, out: Path) -> str:
    """Return the one error line of a conversion that fails and writes nothing."""
    result = convert(source, out)
    assert result.returncode == 1
    assert not list(out.parent.glob("out*"))
    assert "Traceback" not in result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("fairseq-mh: error: "))
    return line


def test_a_folder_and_an_archive_become_the_model(published, tmp_path):
    archive = tmp_path / "published.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(published, "maskPredict_de_en")
    for number, source in enumerate((published, archive)):
        out = tmp_path / f"made{number}"
        result = convert(source, out)
        assert result.returncode == 0, result.stderr
        assert "fairseq-preprocess" in result.stdout
        assert (out / "dict.en.txt").read_text().splitlines()[0] == f"{MASK} 0"
        assert Dictionary.load(str(out / "dict.en.txt")) == dictionary()
        made = torch.load(out / "checkpoint.pt", weights_only=True)["model"]
        expected = model().state_dict()
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_the_model_agrees_with_plain_formulas(published, tmp_path):
    """Two sentences in one padded batch, each after fairseq's BOS, agree with plain formulas within 1e-5."""
    convert(published, tmp_path / "out")
    models, _ = checkpoint_utils.load_model_ensemble(
        [str(tmp_path / "out" / "checkpoint.pt")], {"data": str(tmp_path / "out")}
    )
    ours, (_, weights) = models[0].eval(), load_published((published / "checkpoint_best.pt").read_bytes())
    sources = [torch.tensor([5, 7, 6, 8, 2]), torch.tensor([8, 2])]
    targets = [torch.tensor([4, 6, 4, 2]), torch.tensor([7, 4, 5, 8, 4, 4])]
    with torch.no_grad():
        encoded = ours.forward_encoder([_batch(sources, before=[0]), torch.tensor([6, 3])])
        logits = ours.decoder(normalize=False, prev_output_tokens=_batch(targets), encoder_out=encoded)
        lengths = ours.length_logits(encoded)
    for n, (source, target) in enumerate(zip(sources, targets, strict=True)):
        memory, expected = published_model.encode(weights, source, heads=2)
        found = encoded["encoder_out"][0][1 : 1 + len(source), n]
        torch.testing.assert_close(found, memory, atol=1e-5, rtol=0)
        torch.testing.assert_close(lengths[n], expected, atol=1e-5, rtol=0)
        expected = published_model.decode(weights, target, memory, heads=2)
        torch.testing.assert_close(logits[n, : len(target)], expected, atol=1e-5, rtol=0)


def _batch(lines, before=()):
    lines = [torch.tensor([*before, *line.tolist()]) for line in lines]
    return torch.nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=1)


def test_the_printed_next_commands_run(published, tmp_path):
    out, text = tmp_path / "out", tmp_path / "text"
    said = convert(published, out).stdout.replace("\\\n", "").replace("TEXT", str(text))
    _, preprocess, generate = re.split(r"fairseq-(?:preprocess|generate) ", said.split("dictionaries:")[1])
    text.with_suffix(".de").write_text("a b c a\nb b\nc a b d a c\n")
    text.with_suffix(".en").write_text("c a b\nb a\na d c a b\n")
    generate, written = generate.strip().splitlines()
    assert written == f"{out} is written: checkpoint.pt, dict.de.txt and dict.en.txt"
    generate = generate.replace("$(fairseq-mh user-dir)", str(ROOT / "fairseq_mh"))
    for program, arguments in (("preprocess", preprocess), ("generate", generate)):
        result = run_program(f"fairseq-{program}", *shlex.split(arguments), cwd=ROOT)
        assert result.returncode == 0, result.stderr[-2000:]
    assert sorted(lines_of(result.stdout, "H")) == [0, 1, 2]
    assert lines_of(result.stdout, "T")[2] == ["a d c a b"]


def test_every_decoding_translates_with_words_only(published, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fairseq_mh")
    out = tmp_path / "out"
    convert(published, out)
    write_data(out, dictionary(), "test", [("abca", "cab"), ("bb", "ba"), ("cabdac", "adcab")])
    tiny = Tiny(out, dictionary())
    for options in (("mh",), ("mh", "--mh-select", "mbr"), ("gibbs",), ("mask-predict",)):
        beam = ("--iter-decode-with-beam", 2, "--nbest", 2, "--gen-subset", "test", "--scoring", "sacrebleu")
        result = generated_here(tiny, "--mh-decoding", *options, *beam)
        assert result.returncode == 0, result.stderr[-2000:]
        assert "stock decoder" not in caplog.text
        assert "decoder rows so far" in caplog.text
        hypotheses = [line.split("\t")[1].split() for lines in lines_of(result.stdout, "H").values() for line in lines]
        assert len(hypotheses) >= 3
        assert set().union(*hypotheses) <= set(WORDS)
    gold = generated_here(tiny, "--mh-gold-length", "--gen-subset", "test")
    assert gold.returncode == 0
    positions = lines_of(gold.stdout, "P")
    assert [len(positions[n][0].split()) for n in range(3)] == [4, 3, 6]  # with EOS


@pytest.mark.parametrize("missing", ["checkpoint_best.pt", "dict.de.txt", "dict.en.txt"])
def test_a_missing_file_is_named(published, tmp_path, missing):
    (published / missing).unlink()
    assert missing in refusal(published, tmp_path / "out")


class Malicious:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


CHANGES = {
    "another architecture": ({"args": Namespace(arch="transformer")}, "transformer"),
    "no arguments": ({"args": None}, "no arguments"),
    "a missing argument": ({"args": Namespace(arch=PUBLISHED.arch, task=PUBLISHED.task)}, "encoder_layers"),
    "an extra weight": ({"model": {"encoder.adapter.weight": torch.ones(2)}}, "encoder.adapter.weight"),
    "a weight of another shape": ({"model": {"encoder.embed_lengths.weight": torch.ones(2, 8)}}, "embed_lengths"),
    "weights that are no tensors": ({"model": {"decoder.note": "weights"}}, "no arguments and weights"),
    "embeddings that should be shared": ({"model": {"encoder.embed_tokens.weight": torch.ones(9, 8)}}, "differ"),
    "executable code": ({"extra_state": Malicious()}, "system"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_unknown_contents_are_refused(published, tmp_path, name):
    change, reason = CHANGES[name]
    path = published / "checkpoint_best.pt"
    _, weights = load_published(path.read_bytes())
    state = {"args": PUBLISHED, "model": weights, "extra_state": {}}
    change = {key: {**state[key], **value} if key == "model" else value for key, value in change.items()}
    torch.save({**state, **change}, path)
    assert reason in refusal(published, tmp_path / "out")
    assert not Path("executed").exists()


def test_damaged_files_are_refused(published, tmp_path):
    path = published / "checkpoint_best.pt"
    path.write_bytes(path.read_bytes()[:-100])
    assert "checkpoint_best.pt" in refusal(published, tmp_path / "out")
    path.write_bytes(pickle.dumps([1, 2]))
    assert "checkpoint_best.pt" in refusal(published, tmp_path / "out")
    archive = tmp_path / "no.tar.gz"
    archive.write_bytes(b"\x1f\x8b nothing")
    assert "no.tar.gz" in refusal(archive, tmp_path / "out")
    assert "nowhere" in refusal(tmp_path / "nowhere", tmp_path / "out")


def test_damage_anywhere_in_an_archive_gives_one_error_line(published, tmp_path):
    whole = tmp_path / "published.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(published, "maskPredict_de_en")
    content = whole.read_bytes()
    for place in range(20, len(content), len(content) // 6):
        whole.write_bytes(content[:place] + b"\xff\x00\xff" + content[place + 3 :])
        assert "fairseq-mh: error" in refusal(whole, tmp_path / "out")


def test_a_dictionary_that_is_not_text_is_refused(published, tmp_path):
    (published / "dict.de.txt").write_bytes(b"\xff\xfe 1\n")
    assert "dict.de.txt" in refusal(published, tmp_path / "out")


def test_a_model_that_shares_no_embeddings_is_converted(tmp_path):
    """Languages with different scripts share nothing; the output projection is called `decoder.embed_out`."""
    unshared = {"share_all_embeddings": False, "share_decoder_input_output_embed": False}
    theirs = model(**unshared).state_dict()
    weights = {**published_names(theirs), "decoder.embed_out": theirs["decoder.output_projection.weight"]}
    folder = publish(tmp_path / "published", weights, {}, Namespace(**{**vars(PUBLISHED), **unshared}))
    (folder / "dict.de.txt").write_text("".join(f"{word} 1\n" for word in "wxyz"))
    result = convert(folder, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    made = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["model"]
    assert made.keys() == theirs.keys()
    assert all(torch.equal(made[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("name", ["../checkpoint_best.pt", "/checkpoint_best.pt", "a/../../dict.en.txt"])
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path, name):
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert "leads out of it" in refusal(archive, tmp_path / "out")


def test_links_in_an_archive_are_refused(tmp_path):
    archive, link = tmp_path / "evil.tar", tarfile.TarInfo("checkpoint_best.pt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(link)
    assert "leads out of it" in refusal(archive, tmp_path / "out")


def test_an_existing_folder_is_not_touched(published, tmp_path):
    (tmp_path / "out").mkdir()
    result = convert(published, tmp_path / "out")
    assert (result.returncode, list((tmp_path / "out").iterdir())) == (1, [])
    assert "already exists" in result.stderr


def test_an_output_that_cannot_be_written_leaves_nothing(published, tmp_path):
    (tmp_path / "file").touch()
    result = convert(published, tmp_path / "file" / "out")
    assert result.returncode == 1
    assert "cannot be written" in result.stderr.splitlines()[-1]


def test_masks_are_uniform_in_number_and_position():
    """The shares of 1 to 4 masks and of each position, over 20,000 rows of 4, are right within 5 standard errors.

    A false alarm has a probability of 5e-6.
    """
    torch.manual_seed(0)
    valid = torch.ones(20_000, 6, dtype=torch.bool)
    valid[:, :2] = False
    masked = random_mask(valid)
    assert not masked[:, :2].any()
    share = torch.bincount(masked.sum(1), minlength=5) / len(masked)
    assert share[0] == 0
    torch.testing.assert_close(share[1:], torch.full((4,), 0.25), atol=5 * (0.25 * 0.75 / 20_000) ** 0.5, rtol=0)
    torch.testing.assert_close(masked.float().mean(0)[2:], torch.full((4,), 0.625), atol=0.0172, rtol=0)


@pytest.mark.slow
def test_fairseq_train_learns_words_and_lengths(published, tmp_path):
    """A few updates of the converted checkpoint on a copying task, with fairseq's criterion, lower both losses."""
    out = tmp_path / "out"
    convert(published, out)
    pairs = [("abca", "abca"), ("bb", "bb"), ("cabdac", "cabdac"), ("d", "d")]
    write_data(out, dictionary(), "train", pairs)
    write_data(out, dictionary(), "valid", pairs)
    options = {
        "user-dir": ROOT / "fairseq_mh",
        "task": "translation_mh",
        "arch": "mask_predict_transformer",
        "criterion": "nat_loss",
        "label-smoothing": 0.1,
        "optimizer": "adam",
        "lr": 0.01,
        "max-tokens": 200,
        "max-update": 30,
        "save-interval": 1000,  # only the last checkpoint
        "log-format": "json",
        "num-workers": 0,
        "finetune-from-model": out / "checkpoint.pt",
        "save-dir": tmp_path / "checkpoints",
        **{name.replace("_", "-"): size for name, size in SIZES.items()},
    }
    result = run_program("fairseq-train", out, "--cpu", *(f"--{name}={value}" for name, value in options.items()))
    assert result.returncode == 0, result.stderr[-2000:]
    losses, lengths = (
        [float(value) for value in re.findall(rf'"valid_{name}": "([\d.]+)"', result.stderr + result.stdout)]
        for name in ("loss", "length")
    )
    assert losses[-1] < losses[0]
    assert lengths[-1] < lengths[0]
    write_data(out, dictionary(), "test", pairs)
    trained = tmp_path / "checkpoints" / "checkpoint_last.pt"
    assert cli("generate", Tiny(out, dictionary()), "--gen-subset", "test", checkpoint=trained).returncode == 0
