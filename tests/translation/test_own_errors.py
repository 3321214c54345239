"""Training steps with `--predicted-share`: what is replaced by what, and where loss and gradients are."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.nat_loss import LabelSmoothedDualImitationCriterion
from fairseq.distributed import ModuleProxyWrapper
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask
from torch.nn.parallel import DistributedDataParallel

from fairseq_mh.architectures.mask_predict_transformer import MaskPredictTransformer
from fairseq_mh.criterions.own_errors import OwnErrors
from fairseq_mh.errors import UserError
from fairseq_mh.tasks.translation_mh import TranslationMHTask
from fairseq_mh.translation.options.config import TranslationMHConfig
from tests.tiny_cmlm import dictionary_of, model_of

DICTIONARY = dictionary_of()
BOS, PAD, EOS, MASK = DICTIONARY.bos(), DICTIONARY.pad(), DICTIONARY.eos(), DICTIONARY.unk()
A, B, C = (DICTIONARY.index(word) for word in "abc")
MADEUP = len(DICTIONARY) - 1
OPTIMIZER = SimpleNamespace(backward=lambda loss: loss.backward())


def batch():
    """Return a batch of targets of different lengths, one of which has an unknown word."""
    target = torch.tensor(
        [[BOS, A, B, C, A, B, C, EOS], [BOS, B, MASK, A, C, EOS, PAD, PAD], [BOS, C, EOS] + [PAD] * 5]
    )
    source = torch.tensor([[BOS, A, B, C, EOS], [BOS, B, A, EOS, PAD], [BOS, C, EOS, PAD, PAD]])
    net_input = {"src_tokens": source, "src_lengths": source.ne(PAD).sum(1)}
    return {"id": torch.arange(3), "net_input": net_input, "target": target, "ntokens": 15, "nsentences": 3}


def task_of(share: float, **options) -> TranslationMHTask:
    return TranslationMHTask(TranslationMHConfig(predicted_share=share, **options), DICTIONARY, DICTIONARY)


def stock_task() -> TranslationLevenshteinTask:
    return TranslationLevenshteinTask(TranslationLevenshteinConfig(noise="random_mask"), DICTIONARY, DICTIONARY)


def cmlm(**options):
    return model_of(DICTIONARY, share_all_embeddings=True, label_smoothing=0.1, **options)


def trained(task, model, training=True, seed=1):
    """Take a step, and return its loss, the targets with noise, and the gradients."""
    torch.manual_seed(seed)
    model.zero_grad()
    criterion, noised = LabelSmoothedDualImitationCriterion(task, 0.1), []

    def observed(model, sample):
        assert model.training == training
        noised.append(sample["prev_target"])
        return criterion(model, sample)

    step = task.train_step if training else task.valid_step
    loss, _, _ = step(batch(), model, observed, *([OPTIMIZER, 0] if training else []))
    gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    return loss.detach(), noised[0], gradients


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_share_0_is_random_mask(seed):
    """Loss, gradients and random numbers, those of dropout included, are those of fairseq's own task."""
    model = cmlm(dropout=0.3)
    assert_equal(trained(task_of(0.0), model, seed=seed), trained(stock_task(), model, seed=seed))


def test_validation_is_that_of_random_mask():
    model = cmlm(dropout=0.3)
    assert_equal(trained(task_of(0.5), model, training=False), trained(stock_task(), model, training=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_visible_words_become_the_models_predictions(seed, dtype):
    """With share 1 all of them do, so that each is predicted from a target that is masked as a whole."""
    model, sample = cmlm(dropout=0.5).to(dtype), batch()
    _, masked, _ = trained(task_of(0.0), model, seed=seed)
    loss, noised, _ = trained(task_of(1.0), model, seed=seed)
    words = sample["target"] >= A
    with torch.no_grad():
        source = model.eval().encoder(**sample["net_input"])
        logits = model.decoder(
            normalize=False, prev_output_tokens=sample["target"].masked_fill(words, MASK), encoder_out=source
        )
    predicted = logits[..., [A, B, C]].argmax(-1) + A
    assert torch.equal(noised, masked.where(masked < A, predicted))
    assert (noised != masked).any()
    assert loss.isfinite()


class Recorder(torch.nn.Module):
    """A model that predicts special symbols first, then padding words of the dictionary, and then `c`."""

    def forward(self, src_tokens, src_lengths, prev_output_tokens, tgt_tokens):
        self.seen, self.how = prev_output_tokens, (self.training, torch.is_grad_enabled())
        scores = torch.arange(len(DICTIONARY), 0, -1.0)
        scores[[MADEUP, C]] = torch.tensor([50.0, 20.0])
        return {"word_ins": {"out": scores.expand(*tgt_tokens.shape, -1)}}


def test_a_share_of_the_visible_words_is_replaced_and_hidden_from_the_prediction():
    """A fifth of the words is masked, a tenth unknown; the share is within 5 standard deviations."""
    torch.manual_seed(1)
    masked = torch.tensor([BOS] + 14 * [A] + 4 * [MASK] + 2 * [B] + [MADEUP, EOS, PAD]).repeat(2000, 1)
    model = Recorder().train()
    sample = batch() | {"target": masked, "prev_target": masked.clone()}
    noised = OwnErrors(0.3, "random_mask", DICTIONARY).replace(model, sample)
    words = (masked == A) | (masked == B)
    replaced = noised != masked
    assert not (replaced & ~words).any()
    assert (noised[replaced] == C).all()
    assert replaced.sum() / words.sum() == pytest.approx(0.3, abs=5 * (0.21 / words.sum().item()) ** 0.5)
    assert torch.equal(model.seen, masked.masked_fill(replaced, MASK))
    assert model.how == (False, False)
    assert model.training
    assert torch.equal(sample["prev_target"], masked)


@pytest.mark.parametrize("bf16", [False, True])
def test_loss_and_gradients_are_those_of_given_targets(bf16):
    """Nothing of the prediction has a gradient, and autocast keeps no cast of the weights from it."""
    model = cmlm(dropout=0.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, noised, gradients = trained(task_of(0.7), model)
    masked = trained(task_of(0.0), model)[1]
    assert torch.equal(noised == MASK, masked == MASK), "the loss is at the positions of <unk>"
    assert (noised != masked).any()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        criterion = LabelSmoothedDualImitationCriterion(task_of(0.0), 0.1)
        expected, _, _ = criterion(model, batch() | {"prev_target": noised})
        expected.backward()
    given = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert_equal((loss, gradients), (expected.detach(), given))


def test_a_model_that_is_distributed_learns_the_same(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        alone, model = trained(task_of(0.7), cmlm(dropout=0.3)), cmlm(dropout=0.3)
        assert_equal(trained(task_of(0.7), ModuleProxyWrapper(DistributedDataParallel(model))), alone)
    finally:
        torch.distributed.destroy_process_group()


def test_a_distributed_model_is_validated_by_bleu(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        task, model = task_of(0, eval_bleu=True, mh_sweeps=1, seed=1), cmlm()
        task.tokenizer = None  # fairseq sets it where it builds the model
        criterion = LabelSmoothedDualImitationCriterion(task, 0.1)
        _, _, logged = task.valid_step(batch(), ModuleProxyWrapper(DistributedDataParallel(model)), criterion)
        assert logged["_bleu_ref_len"] > 0
    finally:
        torch.distributed.destroy_process_group()


REFUSED = {
    "a share below 0": ({"share": -0.1}, "must be from 0 to 1"),
    "a share above 1": ({"share": 1.1}, "must be from 0 to 1"),
    "no number": ({"share": float("nan")}, "must be from 0 to 1"),
    "another noise": ({"share": 0.3, "noise": "full_mask"}, "needs --noise random_mask"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_mean_nothing_are_refused(name):
    options, told = REFUSED[name]
    with pytest.raises(UserError, match=f"--predicted-share {told}"):
        task_of(**options)


@pytest.mark.parametrize("arch", ["electric_transformer", "nonautoregressive_transformer", "transformer"])
def test_other_models_are_refused_before_an_epoch(arch):
    model = model_of(DICTIONARY, arch, share_all_embeddings=True)
    with pytest.raises(UserError, match=f"trains a cmlm_transformer, not a {type(model).__name__}"):
        task_of(0.3).begin_epoch(1, model)
    task_of(0.0).begin_epoch(1, model)
    task_of(0.3).begin_epoch(1, cmlm())


def test_mask_predicts_own_model_is_refused():
    """It masks its targets itself."""
    model = MaskPredictTransformer.__new__(MaskPredictTransformer)
    with pytest.raises(UserError, match="not a MaskPredictTransformer"):
        task_of(0.3).begin_epoch(1, model)
