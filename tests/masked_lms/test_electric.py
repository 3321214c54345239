"""Electric: its energies, the chains that use them, and its training."""

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import ModuleProxyWrapper

import fairseq_mh
from fairseq_mh.criterions.electric_nce import ElectricNCE, add_noise, noise_logits
from fairseq_mh.energies.electric import Electric, same_encoder
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM, MaskPredictCMLM
from fairseq_mh.tasks.translation_mh import TranslationMHTask
from fairseq_mh.translation.options.config import TranslationMHConfig
from tests.programs import run_program
from tests.tiny_cmlm import (
    Tiny,
    generate,
    generated_here,
    lines_of,
    model_of,
    refused,
    trace_of,
    write_checkpoint,
    write_data,
)

SENTENCES = range(6)


@pytest.fixture(scope="module")
def electric(tiny, tmp_path_factory) -> Path:
    """Write a checkpoint with random weights, and return its path; its encoder is not the CMLM's."""
    path = tmp_path_factory.mktemp("electric") / "electric.pt"
    write_checkpoint(path, tiny.dictionary, arch="electric_transformer", share_all_embeddings=True)
    return path


def load(path: Path, tiny: Tiny):
    models, _ = checkpoint_utils.load_model_ensemble([str(path)], {"data": str(tiny.folder)})
    return models[0].double().eval()


def energy_by_definition(model, tiny, source: list[int], tokens: list[int]) -> float:
    """Return the sum over t of w . h(X)_t + b, where h is the stock decoder's output on BOS X EOS."""
    dictionary = tiny.dictionary
    line = torch.tensor([[dictionary.bos(), *source, dictionary.eos()]])
    encoded = model.encoder(line, src_lengths=torch.tensor([line.size(1)]))
    inputs = torch.tensor([[dictionary.bos(), *tokens, dictionary.eos()]])
    features = model.decoder.extract_features(inputs, encoder_out=encoded)[0][0, 1:-1]
    return float(sum(float(vector @ model.energy.weight[0]) + float(model.energy.bias) for vector in features))


def sources_of(tiny) -> list[list[int]]:
    words = ("abca", "bb", "cabbac", "a", "acb", "bca")
    return [[tiny.dictionary.index(word) for word in line] for line in words]


@torch.no_grad()
def test_energies_of_chains_equal_the_definition(tiny, electric, tmp_path, capsys):
    """An update takes one row for the candidate, and one for its conditional if the state lacks that."""
    options = ("--mh-energy", electric, "--mh-sweeps", "3", "--mh-chains", "2")
    records = trace_of(tiny, tmp_path / "trace", "--gen-subset", "test", *options)
    model, sources = load(electric, tiny), sources_of(tiny)
    for record in records:
        expected = energy_by_definition(model, tiny, sources[record["id"]], record["tokens"])
        assert record["energy"] == pytest.approx(expected, abs=1e-6)
        assert record["energy_electric"] == record["energy"]
        assert record["rows"] <= max(2 * record["proposals"], 2)  # 2 at the start: the masked target, and its draw
    assert any(record["novel"] for record in records)
    scores = {
        number: float(lines[0].split("\t")[0]) for number, lines in lines_of(capsys.readouterr().out, "H").items()
    }
    lowest = {n: min(r["energy"] / r["length"] for r in records if r["id"] == n) for n in SENTENCES}
    assert all(scores[n] * math.log(2) >= -lowest[n] - 1e-3 for n in SENTENCES)  # H- is in bits


def test_a_frozen_encoder_is_shared(tiny, electric):
    model, own = load(tiny.folder / "checkpoint.pt", tiny), load(electric, tiny)
    cmlm = CMLM(model, tiny.dictionary)
    assert not Electric(own, tiny.dictionary, cmlm).shares_encoder
    own.encoder.load_state_dict(model.encoder.state_dict())
    shared = Electric(own, tiny.dictionary, cmlm)
    assert shared.shares_encoder
    encoded = {"encoder_out": [torch.zeros(1, 1, 8).double()], "encoder_padding_mask": []}
    assert shared.bind(encoded, ()).decode  # no source is read


def test_training_starts_from_a_whole_cmlm(tiny, electric):
    """A CMLM's checkpoint lacks only the head, which keeps its initial values; no other weight may be missing."""
    own, weights = load(electric, tiny), load(tiny.folder / "checkpoint.pt", tiny).state_dict()
    head = own.energy.weight.clone()
    own.load_state_dict(weights)
    assert torch.equal(own.energy.weight, head)
    assert torch.equal(own.encoder.layers[0].fc1.weight, weights["encoder.layers.0.fc1.weight"])
    del weights["encoder.layers.0.fc1.weight"]
    with pytest.raises(RuntimeError, match=r"encoder\.layers\.0\.fc1\.weight"):
        own.load_state_dict(weights)


def test_checkpoints_of_another_kind_are_refused(tiny, electric):
    energy = ("--gen-subset", "test", "--mh-energy", tiny.folder / "checkpoint.pt")
    assert generated_here(tiny, *energy, "--mh-sweeps", "1").returncode == 0  # another CMLM adds its two-stream energy
    line = refused(generated_here(tiny, "--gen-subset", "test", checkpoint=electric))
    assert "ElectricTransformer, not a CMLM" in line


def test_noise_has_the_distribution_q():
    """A chi-square test at 1e-6 compares them. Other symbols stay, and log q is that of the drawn symbols."""
    torch.manual_seed(1)
    q = torch.tensor([0.6, 0.3, 0.1]).log().expand(30_000, 3)
    tokens, is_noise = torch.zeros(30_000, 1, dtype=torch.long), torch.arange(30_000) % 2 == 0
    outside = torch.zeros_like(tokens, dtype=torch.bool)
    outside[::10] = True
    noised = add_noise(q, tokens, torch.ones_like(outside), is_noise, outside)
    assert torch.equal(noised.sites, ~outside)
    inside = ~outside[:, 0]
    assert torch.equal(noised.is_noise, is_noise[inside])
    assert not noised.tokens[~is_noise & inside].any()
    assert noised.tokens[outside].any(), "a symbol outside the state space is always replaced"
    counts = noised.tokens[is_noise].flatten().bincount().double()
    expected = 15_000 * q[0].exp().double()
    assert ((counts - expected).square() / expected).sum() < 27.6  # 2 degrees of freedom
    assert torch.equal(noised.log_q, q.gather(1, noised.tokens)[inside, 0])


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_loss_is_lowest_if_the_energy_is_minus_log_p(share):
    """The expected loss is lowest at E = -log p for any q, but not if the logit assumes another share of noise."""
    p, q = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.2, 0.3, 0.5]).double()

    def minimiser(assumed: float) -> torch.Tensor:
        energies = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([energies], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15)

        def closure():
            optimiser.zero_grad()
            logits = noise_logits(energies, q.log(), assumed)
            noise, data = torch.nn.functional.softplus(-logits), torch.nn.functional.softplus(logits)
            loss = (share * q * noise + (1 - share) * p * data).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        return energies.detach()

    torch.testing.assert_close(minimiser(share), -p.log(), atol=1e-4, rtol=0)
    assert (minimiser(0.35) + p.log()).abs().min() > 0.1


def train(data: Tiny, folder: Path, *options) -> subprocess.CompletedProcess:
    plugin = str(Path(fairseq_mh.__file__).parent)
    command = [str(data.folder), "--user-dir", plugin, "--cpu"]
    command += ["--task", "translation_mh", "--criterion", "electric_nce", "--arch", "electric_transformer"]
    for side in ("encoder", "decoder"):
        command += f"--{side}-layers 1 --{side}-embed-dim 8 --{side}-ffn-embed-dim 8 --{side}-attention-heads 2".split()
    command += ["--share-all-embeddings", "--max-source-positions", "12", "--max-target-positions", "12"]
    command += ["--save-dir", str(folder), "--optimizer", "adam", "--lr", "0.01", "--max-tokens", "2000"]
    command += ["--seed", "1", "--dropout", "0", "--validate-interval", "1000", "--save-interval", "1000"]  # the last
    command += ["--num-workers", "0", "--log-format", "simple", "--no-epoch-checkpoints", *map(str, options)]
    return run_program("fairseq-train", *command)


@pytest.fixture(scope="module")
def pairs(tiny, tmp_path_factory) -> Tiny:
    """Write a data set whose targets equal their sources."""
    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(1)
    lines = ["".join(random.choice(list("abc"), random.integers(2, 8))) for _ in range(300)]
    for split, some in (("train", lines[:250]), ("valid", lines[250:]), ("test", lines[250:256])):
        write_data(folder, tiny.dictionary, split, [(line, line) for line in some])
    return Tiny(folder, tiny.dictionary)


@pytest.mark.slow
def test_training_from_a_cmlm(tiny, pairs, tmp_path):
    """The frozen encoder stays as it was, the correlation is logged, and the trained model can be a chain's energy."""
    cmlm = tiny.folder / "checkpoint.pt"
    start = ("--noise-model", cmlm, "--finetune-from-model", cmlm, "--freeze-encoder")
    done = train(pairs, tmp_path, *start, "--max-update", "20")
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(name in done.stdout for name in ("noise_accuracy", "data_accuracy", "correlation"))
    trained, before = load(tmp_path / "checkpoint_last.pt", tiny), load(cmlm, tiny)
    assert same_encoder(trained.encoder, before.encoder)
    weights = [model.decoder.layers[0].fc1.weight for model in (trained, before)]
    assert not torch.equal(*weights)
    options = ("--mh-energy", tmp_path / "checkpoint_last.pt", "--path", cmlm)
    generate(pairs, "--gen-subset", "test", *options)


@pytest.mark.heavy
def test_training_without_a_cmlm(pairs, tmp_path):
    """The loss of the two-tower cloze model falls below that of guessing, and Electric learns with it."""
    done = train(pairs, tmp_path, "--noise-layers", "1", "--max-update", "400")
    assert done.returncode == 0, done.stderr[-2000:]
    (valid,) = [line for line in done.stdout.splitlines() if "valid on" in line][-1:]
    figures = dict(part.split() for part in valid.split(" | ")[2:] if len(part.split()) == 2)
    assert float(figures["cloze_loss"]) < math.log(3)
    assert float(figures["loss"]) < 0.75


class Wrapper(torch.nn.Module):
    """Counts the calls of a model, in place of torch's wrapper for distributed training."""

    def __init__(self, module):
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *inputs):
        self.calls += 1
        return self.module(*inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_training_step_in_each_precision(tiny, dtype):
    """The noise model takes the precision of the model and shares its encoding; an empty target is refused."""
    task = TranslationMHTask.setup_task(TranslationMHConfig(data=str(tiny.folder)))
    (model,), _ = checkpoint_utils.load_model_ensemble([str(tiny.folder / "checkpoint.pt")], task=task)
    electric = model_of(tiny.dictionary, "electric_transformer", share_all_embeddings=True, freeze_encoder=True)
    electric.encoder.load_state_dict(model.encoder.state_dict())
    criterion = ElectricNCE(task, str(tiny.folder / "checkpoint.pt"), 0.5, 1.0)
    target = torch.tensor([[0, 4, 5, 2], [0, 6, 2, 1]])
    sample = {"id": torch.tensor([0, 1]), "target": target, "ntokens": 3}
    sample["net_input"] = {"src_tokens": target, "src_lengths": torch.tensor([4, 3])}
    loss, size, logging = criterion(electric.to(dtype), sample)
    assert criterion.shared
    assert loss.isfinite()
    assert size == logging["sample_size"] > 0
    wrapped = Wrapper(electric)
    torch.manual_seed(1)
    criterion(ModuleProxyWrapper(wrapped), sample)[0].backward()
    assert wrapped.calls == 1  # so that a wrapper sees the pass
    assert electric.energy.weight.grad is not None
    sample["target"] = torch.tensor([[0, 4, 5, 2], [0, 2, 1, 1]])
    with pytest.raises(UserError, match="target 1 is empty"):
        criterion(electric, sample)


def test_an_electric_for_mask_predicts_own_model_is_refused(tiny, electric):
    cmlm = MaskPredictCMLM.__new__(MaskPredictCMLM)
    with pytest.raises(UserError, match="EOS"):
        Electric(load(electric, tiny), tiny.dictionary, cmlm)


@pytest.mark.slow
def test_training_needs_exactly_one_source_of_noise(tiny, pairs, tmp_path):
    both = ("--noise-layers", "1", "--noise-model", tiny.folder / "checkpoint.pt")
    for options in ((), both):
        failed = train(pairs, tmp_path, *options, "--max-update", "1")
        assert failed.returncode != 0
        assert "give one of them" in failed.stderr
        assert "Traceback" not in failed.stderr


@torch.no_grad()
def test_each_tower_sees_only_one_side(tiny, tmp_path):
    """The conditional at a position depends on every symbol but the one at that position."""
    write_checkpoint(
        tmp_path / "e.pt", tiny.dictionary, "electric_transformer", share_all_embeddings=True, noise_layers=1
    )
    model = load(tmp_path / "e.pt", tiny)
    encoded = model.encoder(torch.tensor([[4, 5, 2]]), src_lengths=torch.tensor([3]))
    encoded = model.encoder.reorder_encoder_out(encoded, torch.zeros(2, dtype=torch.long))
    tokens = torch.tensor([[4, 5, 6, 4, 5], [4, 5, 6, 1, 1]])
    before = model.cloze(encoded, tokens)
    for site in range(3):
        changed = tokens.clone()
        changed[:, site] = 4 + (changed[:, site] - 3) % 3
        same = (model.cloze(encoded, changed) - before).abs().amax(-1) < 1e-12
        assert same[:, site].all()
        assert not same[0, [i for i in range(5) if i != site]].any()
        assert not same[1, [i for i in range(3) if i != site]].any()
