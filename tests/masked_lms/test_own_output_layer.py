"""A model's own output layer is used, and a model without the logits of all symbols is refused."""

import pytest
import torch
from fairseq.models.nat import NATransformerDecoder

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import cmlm_of
from tests.tiny_cmlm import dictionary_of, model_of


class Shifted(NATransformerDecoder):
    """Adds a number to each logit of the first word."""

    def output_layer(self, features):
        logits = super().output_layer(features)
        logits[..., 4] += 3.0
        return logits


def test_the_output_layer_of_a_subclass_is_used():
    dictionary = dictionary_of()
    model = model_of(dictionary)
    source = torch.tensor([[0, 4, 5, 2]]), torch.tensor([4])
    features = torch.randn(3, 8)
    with torch.no_grad():
        plain = cmlm_of(model, dictionary).bind(model.forward_encoder(source)).project(features)
        model.decoder.__class__ = Shifted
        own = cmlm_of(model, dictionary).bind(model.forward_encoder(source)).project(features)
    expected = torch.zeros_like(plain)
    expected[:, 4] = 3.0
    torch.testing.assert_close(own - plain, expected)


def test_an_adaptive_softmax_is_refused():
    dictionary = dictionary_of()
    model = model_of(dictionary)
    model.decoder.adaptive_softmax = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match="adaptive-softmax"):
        cmlm_of(model, dictionary)
