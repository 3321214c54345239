"""Control tests: errors that a real accelerator reports also fail on the pretend one, in each part of the package."""

import pytest
import torch

import fairseq_mh.engine.decoder
import fairseq_mh.mcmc.chain
import fairseq_mh.translation.chains.setup
import fairseq_mh.translator
from benchmarks.pretend_device import PretendDevice
from benchmarks.pretend_tensor import Misplaced
from fairseq_mh.corpus.sources import scan
from fairseq_mh.corpus.worker import Job, worker
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.translator import Translator
from tests.corpus.test_translate_corpus import RUN, write_corpus


def moved_to_host(function):
    """Return a function that moves all tensors of the given function's result to the CPU."""

    def misplaced(*args, **kwargs):
        found = function(*args, **kwargs)
        if isinstance(found, torch.Tensor):
            return found.cpu()
        parts = [part.cpu() if isinstance(part, torch.Tensor) else part for part in found]
        return type(found)(*parts) if hasattr(found, "_fields") else tuple(parts)

    return misplaced


PLANTED = {
    "mcmc": (fairseq_mh.mcmc.chain, "copy_together"),
    "engine": (fairseq_mh.engine.decoder, "_site_positions"),
    "translation": (fairseq_mh.translation.chains.setup, "plan_chains"),
    "masked_lms": (CMLM, "add_special_tokens"),
}


@pytest.fixture(scope="module")
def translator(tiny):
    with PretendDevice():
        return Translator(str(tiny.folder), RUN)


@pytest.mark.parametrize("part", PLANTED)
def test_a_misplaced_tensor_fails(translator, monkeypatch, part):
    with PretendDevice():
        assert translator.decode(["a b"], chains=1)[0].translations
        owner, name = PLANTED[part]
        monkeypatch.setattr(owner, name, moved_to_host(getattr(owner, name)))
        with pytest.raises(Misplaced, match="mixes"):
            translator.decode(["a b"], chains=1)


def test_a_batch_that_stays_on_the_host_fails(tiny, tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "c.de")
    monkeypatch.setattr(fairseq_mh.translator, "to_device", lambda model, batch: batch)
    with PretendDevice():
        translate = worker(Job(tmp_path, str(tiny.folder), corpus, RUN, samples=False))
        with pytest.raises(Misplaced, match="mixes"):
            finish(translate(scan(corpus, 100).spans[0]))


def test_blanks_on_the_host_fail(mlm, monkeypatch):
    from fairseq_mh.open_ended.blanks import Blanks
    from fairseq_mh.open_ended.sampling import sample
    from fairseq_mh.sampler_config import SamplerConfig

    monkeypatch.setattr(Blanks, "states", moved_to_host(Blanks.states))
    with PretendDevice():
        mlm.model.cuda()
        mlm.allowed = mlm.allowed.to("cuda")
        with pytest.raises(Misplaced, match="mixes"):
            finish(sample(mlm, "a {2}", range(1, 2), range(2), 1, SamplerConfig(mh_sweeps=1)))


def test_a_tensor_without_a_stated_device_fails(translator, monkeypatch):
    monkeypatch.setattr("benchmarks.pretend_device.ON_THE_HOST", ("masked_lms/", "translation/lines.py"))
    with PretendDevice(), pytest.raises(Misplaced, match="without a device"):
        translator.decode(["a b"], chains=1)


WRONG = {
    "a sum": lambda x: x + torch.ones(3, device="cpu"),
    "an index": lambda x: x[torch.tensor([0], device="cpu")],
    "a write": lambda x: x.__setitem__(torch.tensor([True, False, True], device="cpu"), 1.0),
    "an out-of-place write": lambda x: torch.ones(3, device="cpu").index_add(0, x.long(), x),
    "NumPy": lambda x: x.numpy(),
    "NumPy's own way": lambda x: __import__("numpy").asarray(x),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_devices_do_not_mix(wrong):
    with PretendDevice(), pytest.raises(Misplaced):
        WRONG[wrong](torch.ones(3, device="cuda"))


def test_copies_numbers_and_tensors_without_dimensions_may_cross_devices():
    with PretendDevice():
        x = torch.arange(6.0, device="cuda").view(2, 3)
        x[:, 0] = 5
        x[x > 4] = torch.tensor(2.0, device="cpu")
        x += torch.tensor(1.0, device="cpu")
        assert x.device == torch.zeros(2).cuda().device
        assert not x.is_cpu
        assert torch.where(x > 2, x, 0).cpu().tolist() == [[3, 0, 3], [3, 5, 3]]
        assert x.sum().item() == 19
        torch.zeros(2, 3).copy_(x)


def test_waits_are_reported():
    reported = []
    with PretendDevice(lambda what, where: reported.append(what)):
        x = torch.tensor([0.0, 1.0, 1.0], device="cuda")
        for use in (torch.Tensor.any, torch.Tensor.unique, torch.Tensor.nonzero, torch.Tensor.tolist, torch.Tensor.cpu):
            use(x)
        bool(x.any())
        x[x > 0]
        x.masked_fill(x > 0, 1)
    expected = ["unique", "nonzero", "tolist", "copy to the host", "item or bool", "a mask as index"]
    assert reported == ["copy to the device", *expected]
