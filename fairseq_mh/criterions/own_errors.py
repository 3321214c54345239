"""Training of a CMLM among its own errors (SMART, Ghazvininejad et al., 2020; CMLMC, Huang et al., 2022).

fairseq's `--noise random_mask` masks some positions M of a target X, and the model learns their symbols from the right
ones elsewhere. The states of a chain are not right: they hold the model's own errors. So each visible symbol, a word
outside M, is replaced with probability p (`--predicted-share`) by the model's own prediction:

    X'_t = argmax p(. | source, X without M and R)    at the replaced positions R,    X'_t = X_t elsewhere
    loss = that of X_t given X' without M, at the positions of M

R is hidden from the prediction together with M, as a chain hides a block to draw it from the rest of its state. It
could otherwise tell what M holds. One pass predicts all of R, as the model decodes: without dropout, and only symbols
that a state may hold. No gradient flows through it.
"""

from collections.abc import Callable

import torch
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor, nn

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.architectures.mask_predict_transformer import MaskPredictTransformer
from fairseq_mh.errors import UserError, refuse
from fairseq_mh.masked_lms.dictionaries import allowed_symbols


class OwnErrors:
    """The replacement of visible symbols in a training step.

    Args:
        share: p, the probability that a visible symbol is replaced.
        noise: the value of fairseq's `--noise`.
        dictionary: the dictionary of the targets.

    Raises:
        UserError: if the share is outside [0, 1], or if the noise does not mask.
    """

    def __init__(self, share: float, noise: str, dictionary: Dictionary):
        refuse(
            {
                "--predicted-share must be from 0 to 1": not 0 <= share <= 1,
                "--predicted-share needs --noise random_mask": noise != "random_mask",
            }
        )
        self.share, self.mask, self.allowed = share, dictionary.unk(), allowed_symbols(dictionary)

    def check(self, model: nn.Module) -> None:
        """Refuse a model that does not learn from the task's noise.

        Raises:
            UserError: if the model is no `cmlm_transformer`.
        """
        other = isinstance(model, MaskPredictTransformer | ElectricTransformer)  # these make their own noise
        if other or not isinstance(model, CMLMNATransformerModel):
            raise UserError(f"--predicted-share trains a cmlm_transformer, not a {type(model).__name__}")

    def added_to(self, criterion: Callable) -> Callable:
        """Return a criterion that replaces symbols and then computes this one; fairseq has masked the targets by then.

        Args:
            criterion: fairseq's, a function of the model and a batch.
        """
        return lambda model, sample: criterion(model, {**sample, "prev_target": self.replace(model, sample)})

    @torch.no_grad()
    def replace(self, model: nn.Module, sample: dict) -> Tensor:
        """Return the masked targets with some visible symbols replaced by the model's predictions.

        Args:
            model: the CMLM in training mode, perhaps wrapped for distributed training.
            sample: fairseq's batch of B pairs, with the masked targets as `prev_target`.

        Returns:
            (B, T) long.
        """
        masked, source = sample["prev_target"], sample["net_input"]
        allowed = self.allowed.to(masked.device)
        replaced = allowed[masked] & (torch.rand(masked.shape, device=masked.device) < self.share)
        hidden = masked.masked_fill(replaced, self.mask)
        model.eval()
        logits = model(source["src_tokens"], source["src_lengths"], hidden, sample["target"])["word_ins"]["out"]
        model.train()
        torch.clear_autocast_cache()  # it keeps casts of the weights, and these have no gradient
        predicted = logits[replaced].masked_fill(~allowed, -torch.inf).argmax(-1)
        return masked.masked_scatter(replaced, predicted)
