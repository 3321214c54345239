"""Tests of products by oneDNN: their activations, and rounded factors where they are wanted and nowhere else."""

import pytest
import torch
import torch.nn.functional as F
from fairseq import utils

from fairseq_mh import Translator
from fairseq_mh.engine.linear import ONEDNN, bf16_products, has_bf16_products, linear
from tests.test_translator import OPTIONS, TEXTS

pytestmark = pytest.mark.skipif(not ONEDNN, reason="this torch was built without oneDNN")


def factors(rows=70, width=8, columns=5):
    generator = torch.Generator().manual_seed(1)
    sizes = ((rows, width), (columns, width), (columns,))
    return [torch.randn(*size, generator=generator) for size in sizes]


@pytest.fixture
def amx(monkeypatch):
    """Round factors as oneDNN does on a CPU with AMX while torch's switch allows it; return the switch's owner."""
    product, matmul = torch.ops.mkldnn._linear_pointwise, getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None:
        pytest.skip("torch has this switch from version 2.9 on")

    def rounded(rows, weight, *rest):
        if matmul.fp32_precision == "bf16":
            rows, weight = rows.bfloat16().float(), weight.bfloat16().float()
        return product(rows, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", rounded)
    return matmul


@pytest.mark.parametrize("name", utils.get_available_activation_fns())
def test_an_activation_is_that_of_the_product(name):
    activation, (x, weight, bias) = utils.get_activation_fn(name), factors(columns=64)
    x[3] = torch.nan
    found, expected = linear(x, weight, bias, activation), activation(linear(x, weight, bias))
    torch.testing.assert_close(found, expected, atol=0, rtol=0, equal_nan=True)
    double = linear(x.double(), weight.double(), bias.double(), activation)
    torch.testing.assert_close(found, double.float(), equal_nan=True)


def test_a_row_of_a_bf16_product_does_not_depend_on_the_number_of_rows():
    if not has_bf16_products():
        pytest.skip("this CPU has no bf16 products, so they stay float32")
    for width in (40, 256, 1024, 2048):
        x, weight, bias = factors(1792, width, 256)
        with bf16_products():
            whole = linear(x, weight, bias)
            assert all(torch.equal(linear(x[:rows], weight, bias), whole[:rows]) for rows in range(1, 1792, 61))


def test_only_products_inside_are_rounded(amx):
    x, weight, bias = factors()
    plain = linear(x, weight, bias)
    with bf16_products():
        torch.testing.assert_close(linear(x, weight, bias), plain, atol=0.1, rtol=0)
        assert not torch.equal(linear(x, weight, bias), plain)
        torch.testing.assert_close(F.linear(x, weight, bias), plain)  # a product that torch computes
        with bf16_products(False):
            assert torch.equal(linear(x, weight, bias), plain)
        with pytest.raises(RuntimeError):
            linear(x, weight[:, 1:], bias)
    assert torch.equal(linear(x, weight, bias), plain)
    assert amx.fp32_precision == "none"


@pytest.mark.parametrize("decoding", ["mh", "mask-predict"])
def test_bf16_on_a_cpu_rounds_the_products_of_a_float32_model(tiny, amx, decoding):
    """Batches change energies by less than rounding does, and later calls are in float32 again."""
    translator = Translator.load(tiny.folder, **OPTIONS | {"chains": 1, "decoding": decoding})
    energies = {}
    for name, options in {"before": {}, "small": {"batch_size": 1}, "whole": {}, "after": {}}.items():
        found = translator.decode(TEXTS, bf16=name in ("small", "whole"), nbest=2, **options)
        energies[name] = [(one.text, one.energy) for result in found for one in result.translations]
        assert amx.fp32_precision == "none"
    assert energies["before"] == energies["after"] != energies["whole"]
    assert [text for text, _ in energies["small"]] == [text for text, _ in energies["whole"]]
    for (_, small), (_, whole) in zip(energies["small"], energies["whole"], strict=True):
        assert small == pytest.approx(whole, rel=0.02)


def test_between_events_products_are_in_float32(tiny, amx):
    translator = Translator.load(tiny.folder, **OPTIONS, bf16=True)
    plain = linear(*factors())
    for _ in translator.watch(TEXTS):
        assert torch.equal(linear(*factors()), plain)
    rounded, full = (translator.alternatives(TEXTS[0], torch.tensor([4, 5]), 0, bf16=bf16) for bf16 in (True, False))
    assert rounded[0].energy == pytest.approx(full[0].energy, rel=0.02)
