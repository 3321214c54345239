"""Tests of fp16 and bf16 for every decoder and energy: results are finite and near float32; decisions use float32."""

import pytest
import torch

from fairseq_mh.energies.experts import model_energy
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.chain import chain_stream, finish, run
from fairseq_mh.mcmc.energy import as_energy
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.translation.options.energy_sum import parse_energy
from fairseq_mh.translation.scorer import Scorer
from fairseq_mh.translator import Translator
from tests.corpus.test_translate_corpus import RUN
from tests.tiny_cmlm import dictionary_of, model_of

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCE = {"fp16": 0.005, "bf16": 0.04}  # nats a token; bf16 has an eighth of the precision of fp16
SIZES = {"decoder_layers": 2, "max_source_positions": 256, "max_target_positions": 256, "share_all_embeddings": True}
LONG, WORDS = 128, (4, 5, 6)
SUM, REVERSE = "norm:0.5,transformer.pt:0.5", "reverse.pt"


def nats_a_token(dtype, energy):
    """Return the energies per token of targets of 1 to 128 tokens; other models are named by their architectures."""
    dictionary = dictionary_of()
    architectures = ("cmlm_transformer", "electric_transformer", "transformer")
    models = {f"{arch}.pt": model_of(dictionary, arch, **SIZES).to(dtype) for arch in architectures}
    models[REVERSE] = models["transformer.pt"]
    cmlm = CMLM(models["cmlm_transformer.pt"], dictionary)

    def load(path):
        return model_energy(path, models[path], dictionary, cmlm, reverse=path == REVERSE)

    scorer = Scorer(cmlm, parse_energy(energy), load)
    generator = torch.Generator().manual_seed(1)
    targets = [torch.randint(4, 7, (length,), generator=generator) for length in (1, 7, 30, LONG)]
    source = torch.randint(4, 7, (2, LONG), generator=generator)
    found = scorer.evaluate((source, torch.tensor([LONG, LONG])), targets, torch.tensor([0, 1, 0, 1]))
    scored = [LONG if energy == REVERSE else len(target) for target in targets]  # a reverse model scores the source
    return found.energy / torch.tensor(scored)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    "energy", ["norm", "raw", "two-stream", "electric_transformer.pt", "transformer.pt", REVERSE, SUM]
)
def test_energies_are_close_to_float32(half, energy):
    found, expected = nats_a_token(HALVES[half], energy), nats_a_token(torch.float32, energy)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, atol=TOLERANCE[half], rtol=0)
    assert not torch.equal(found, expected)  # proves that the energy was computed in half precision


@pytest.mark.parametrize("half", HALVES)
@torch.no_grad()
def test_decisions_are_made_in_float32(half, monkeypatch):
    cmlm = CMLM(model_of(dictionary_of(), share_all_embeddings=True).to(HALVES[half]), dictionary_of())
    lm = cmlm.bind(cmlm.model.forward_encoder((torch.tensor([[0, 4, 5, 2]]), torch.tensor([4]))))
    start = torch.tensor(WORDS).repeat(4, 1)
    seen, settle = [], Kernel.settle
    monkeypatch.setattr(Kernel, "settle", lambda *args: seen.append(settle(*args)) or seen[-1])
    streams = [chain_stream(1, 0, 3, chain) for chain in range(4)]
    kernel = Kernel(lm, as_energy("norm"), MaskedConditional())
    finish(run(kernel, start, torch.zeros(4, dtype=torch.long), streams, Schedule(2)))
    for state, info in seen:
        assert state.features.dtype == HALVES[half]
        assert state.scores.dtype == torch.float32
        assert torch.finfo(info.log_ratio.dtype).bits >= 32
        assert info.log_ratio.isfinite().all()


@pytest.mark.parametrize("half", HALVES)
def test_every_decoder_translates(tiny, half):
    translator = Translator(str(tiny.folder), (*RUN, f"--{half}"))
    assert next(translator.model.parameters()).dtype == {"fp16": torch.float16, "bf16": torch.float32}[half]
    for decoding in ("mh", "gibbs", "mask-predict"):
        result = translator.decode(["a b c a"], decoding=decoding, chains=1)[0]
        assert result.translations
        assert result.broken == 0
