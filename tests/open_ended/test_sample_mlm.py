"""`fairseq-mh sample` continues after an interruption, and refuses mistakes before it writes anything."""

import json
from pathlib import Path

import pytest

from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.scores import read_trace
from fairseq_mh.files.chunks import Chunks
from fairseq_mh.open_ended.drawing import draw_texts, load_text_model
from fairseq_mh.open_ended.options import check_text_options, parse_text_options
from tests.masked_lms.tiny_models import bert, tokenizer_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    bert().float().save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return folder


def draw(folder, output, *options):
    arguments = [
        folder,
        "--output",
        output,
        "--length",
        2,
        5,
        "--chains",
        5,
        "--batch-size",
        2,
        "--mh-sweeps",
        2,
        *options,
    ]
    given = parse_text_options(list(map(str, arguments)))
    check_text_options(given)
    draw_texts(given, load_text_model(given.model, given.device, given.sentencepiece_model))
    return [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]


def test_samples_are_the_last_states_of_the_trace(folder, tmp_path):
    samples, trace = draw(folder, tmp_path / "out"), read_trace(tmp_path / "out" / "trace.jsonl")
    assert [sample["id"] for sample in samples] == list(range(5))
    last = trace.filter(trace["sweep"] == 2)
    assert [sample["tokens"] for sample in samples] == last["tokens"].to_list()
    assert [sample["energy_norm"] for sample in samples] == last["energy_norm"].to_list()
    assert all(set(sample["text"].split()) <= set("abc") for sample in samples)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "samples.jsonl",
        "settings.json",
        "trace.jsonl",
    ]


def test_the_command_sample(folder, tmp_path, capsys):
    samples = draw(folder, tmp_path / "out")
    options = ["--length", "2", "5", "--chains", "5", "--batch-size", "2", "--mh-sweeps", "2"]
    for output in (tmp_path / "out", tmp_path / "other"):  # the first folder has the same settings and is finished
        assert main(["sample", str(folder), "--output", str(output), *options]) == 0
        said = f"{output}/samples.jsonl is written: 5 texts; their chains are in trace.jsonl\n"
        assert capsys.readouterr().out == said
        assert [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()] == samples


def test_an_interrupted_run_continues(folder, tmp_path, monkeypatch):
    whole = draw(folder, tmp_path / "whole")
    written = []

    def stop(self, number, contents, write=Chunks.write):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(number)
        write(self, number, contents)

    with monkeypatch.context() as patch:
        patch.setattr(Chunks, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            draw(folder, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "samples.jsonl").exists()
    (tmp_path / "stopped" / "chunks" / "2.part").mkdir()  # such a folder is left by `kill -9`
    (tmp_path / "stopped" / "chunks" / "2.part" / "samples.jsonl").write_text("{half")
    monkeypatch.setattr(
        Chunks, "write", lambda self, n, contents, write=Chunks.write: write(self, written.append(n) or n, contents)
    )
    assert draw(folder, tmp_path / "stopped") == whole
    assert written == [0, 1, 2]  # no chunk is written twice
    assert draw(folder, tmp_path / "stopped") == whole
    assert written == [0, 1, 2]


MISTAKES = {
    "no folder": ((), {"model": "nowhere"}, r"config\.json"),
    "no blank": (("--text", "nothing to fill in"), {}, "no blank"),
    "empty blank": (("--text", "a {0} b"), {}, "no blank"),
    "lengths": (("--length", "5", "2"), {}, "--length"),
    "too long": (("--length", "40", "50"), {}, "30 symbols at once"),
    "unknown word": (("--text", "a zebra {2}"), {}, "no symbols"),
    "special symbol": (("--text", "a [SEP] {2}"), {}, "no symbols"),
    "device": (("--device", "cuda"), {}, "--device cuda cannot be used"),
    "pieces": (("--sentencepiece-model", "x"), {}, "--sentencepiece-model"),
    "unknown option": (("--chain", "3"), {}, "did you mean --chains"),
    "chains": (("--chains", "0"), {}, "--chains"),
    "temperature": (("--mh-temperature", "0"), {}, "temperature"),
    "seed": (("--seed", "-1"), {}, "--seed"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_refused(folder, tmp_path, name):
    options, other, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        draw(other.get("model", folder) if not other else tmp_path / other["model"], tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def contents(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_a_folder_with_other_settings_is_refused_and_not_changed(folder, tmp_path):
    """The same holds for a folder with other files, and for one that another process is writing to."""
    draw(folder, tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="other settings"):
        draw(folder, tmp_path / "out", "--seed", "2")
    assert contents(tmp_path) == before
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    with Chunks(tmp_path / "out", settings, {}, 0), pytest.raises(UserError, match="another process"):
        draw(folder, tmp_path / "out")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "samples.jsonl").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        draw(folder, tmp_path / "own")
    assert contents(tmp_path / "own") == {Path("samples.jsonl"): b"mine"}


def test_the_path_of_a_model_does_not_matter(folder, tmp_path):
    draw(folder, tmp_path / "out")
    draw(folder / ".." / folder.name, tmp_path / "out")


def test_another_model_at_the_same_path_is_refused(tmp_path):
    for layers in (2, 1):
        bert(num_hidden_layers=layers).float().save_pretrained(tmp_path / "model")
        tokenizer_of().save_pretrained(tmp_path / "model")
        if layers == 2:
            draw(tmp_path / "model", tmp_path / "out")
    with pytest.raises(UserError, match="other settings"):
        draw(tmp_path / "model", tmp_path / "out")
