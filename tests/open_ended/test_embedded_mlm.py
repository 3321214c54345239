"""The embedded English model fills a blank in a sentence of its training domain."""

from pathlib import Path

import torch

from fairseq_mh.masked_lms.hugging_face import load_hugging_face
from fairseq_mh.open_ended.blanks import Blanks

MODEL = Path(__file__).parents[2] / "models/libreoffice-en"


@torch.no_grad()
def test_the_model_fills_a_blank_as_in_the_help_texts():
    model = load_hugging_face(MODEL, "cpu")
    text = model.encode(f"Opens a dialog where you {model.blank} select the font.")
    assert model.decode(torch.tensor(text)) == "Opens a dialog where you select the font."
    blanks = Blanks(model, torch.tensor([text]))
    state, context = blanks.states(), torch.tensor([0])
    masked = state.eq(model.mask)
    logits = blanks.project(blanks.features(state, masked, context))
    state[masked] = logits.masked_fill(~model.allowed, -torch.inf).argmax(-1)
    assert model.decode(blanks.filled(state, context)[0]) == "Opens a dialog where you can select the font."
