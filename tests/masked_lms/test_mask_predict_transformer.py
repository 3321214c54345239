"""Mask-Predict's own model gives the original program's outputs; the tests are skipped if these are missing."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary

from fairseq_mh.convert.published_checkpoint import convert
from fairseq_mh.convert.published_format import files_of
from fairseq_mh.masked_lms.cmlm import cmlm_of
from fairseq_mh.mcmc.energy import Term, evaluate, sum_of
from tests.tiny_cmlm import Tiny, generate, lines_of, write_data

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "maskPredict_tiny"
PASSES_AND_LENGTHS = [(1, 1), (4, 1), (10, 1), (10, 5)]


class Original(Namespace):
    """The converted checkpoint, with the source batch as its data, and the original program's outputs.

    Attributes:
        tiny: the folder of the checkpoint and the data, with the dictionary.
        model: the converted model.
        outputs: the original program's outputs, by name.
    """

    tiny: Tiny
    model: torch.nn.Module
    outputs: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Original:
    if not FIXTURE.exists():
        pytest.skip(f"{FIXTURE} is not here: the original program's outputs are not part of the project")
    folder = tmp_path_factory.mktemp("original") / "data"
    convert(files_of(FIXTURE), folder)
    dictionary = Dictionary.load(str(folder / "dict.en.txt"))
    outputs = torch.load(FIXTURE / "reference_outputs.pt", weights_only=True)
    sources = [dictionary.string(line, extra_symbols_to_ignore={dictionary.pad()}) for line in outputs["src_tokens"]]
    write_data(folder, dictionary, "test", [(source.split(), source.split()) for source in sources])
    models, _ = checkpoint_utils.load_model_ensemble([str(folder / "checkpoint.pt")], {"data": str(folder)})
    return Original(tiny=Tiny(folder, dictionary), model=models[0].eval(), outputs=outputs)


def test_encoder_lengths_and_logits_equal_the_originals(original):
    """They agree within 2e-5; the stored outputs are rounded by 9e-6. A BOS in the source changes nothing."""
    model, expected = original.model.double(), original.outputs
    outside = expected["encoder_padding_mask"]
    source = expected["src_tokens"].masked_fill(outside & ~outside.roll(-1, 1), model.bos)
    with torch.no_grad():
        encoded = model.forward_encoder([source, expected["src_lengths"]])
        lengths = model.length_logits(encoded).log_softmax(-1)
        logits = model.decoder(normalize=False, prev_output_tokens=expected["tgt_tokens"], encoder_out=encoded)
    assert (source == model.bos).any()
    inside = ~outside.T
    torch.testing.assert_close(encoded["encoder_out"][0][inside].float(), expected["encoder_out"][inside], **CLOSE)
    torch.testing.assert_close(lengths.float(), expected["predicted_lengths_logprobs"], **CLOSE)
    valid = expected["tgt_tokens"] != model.pad
    torch.testing.assert_close(logits[valid].float(), expected["decoder_logits"][valid], **CLOSE)


CLOSE = {"atol": 2e-5, "rtol": 0}


def test_the_engines_logits_equal_the_originals(original):
    """They are compared at the masked positions, where the sampler needs them."""
    model, expected = original.model.double(), original.outputs
    cmlm = cmlm_of(model, original.tiny.dictionary)
    tokens, context = expected["tgt_tokens"], torch.arange(len(expected["tgt_tokens"]))
    with torch.no_grad():
        lm = cmlm.bind(model.forward_encoder([expected["src_tokens"], expected["src_lengths"]]))
        logits = lm.project(lm.features(tokens, tokens == cmlm.mask, context))
    torch.testing.assert_close(logits.float(), expected["decoder_logits"][tokens == cmlm.mask], **CLOSE)


@pytest.mark.parametrize(("passes", "lengths"), PASSES_AND_LENGTHS)
def test_mask_predict_equals_the_originals(original, passes, lengths, capsys):
    """Both give the same tokens."""
    options = ("--mh-decoding", "mask-predict", "--iter-decode-max-iter", passes - 1)
    generate(original.tiny, "--gen-subset", "test", *options, "--iter-decode-with-beam", lengths, double=False)
    found = lines_of(capsys.readouterr().out, "H")
    for number, line in enumerate(original.outputs[f"mask_predict_iter{passes}_beam{lengths}"]):
        expected = original.tiny.dictionary.string(line, extra_symbols_to_ignore={original.tiny.dictionary.pad()})
        assert [hypothesis.split("\t")[1] for hypothesis in found[number]] == [expected]


def test_energies_equal_the_definition(original):
    """The definition is a plain loop over the positions of the original's translations, in probabilities.

    It calls fairseq's decoder, whose softmax is float32.
    """
    model, dictionary = original.model.double(), original.tiny.dictionary
    cmlm, expected = cmlm_of(model, dictionary), original.outputs
    tokens = expected["mask_predict_iter10_beam5"]
    context, states = torch.arange(len(tokens)), [i for i, ok in enumerate(cmlm.allowed.tolist()) if ok]
    assert len(states) == len(dictionary) - 4  # words, and EOS: no BOS, padding, <unk> or <mask>
    with torch.no_grad():
        encoded = model.forward_encoder([expected["src_tokens"], expected["src_lengths"]])
        energy = sum_of([Term("raw"), Term("norm")])
        found = energy.by_name(evaluate(cmlm.bind(encoded), energy, tokens, context).state.scores)
        for n, line in enumerate(tokens):
            own = model.encoder.reorder_encoder_out(encoded, torch.tensor([n]))
            raw = norm = 0.0
            for t in range(int((line != cmlm.pad).sum())):
                masked = line[line != cmlm.pad][None].clone()
                masked[0, t] = cmlm.mask
                logits = model.decoder(normalize=False, prev_output_tokens=masked, encoder_out=own)[0, t]
                raw -= float(logits[line[t]])
                norm -= float((logits[line[t]].exp() / logits[states].exp().sum()).log())
            assert float(found["raw"][n]) == pytest.approx(raw, abs=1e-5)
            assert float(found["norm"][n]) == pytest.approx(norm, abs=1e-5)
