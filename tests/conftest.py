"""The fixtures that several folders of tests share; fairseq is imported where one of them needs it alone."""

import gc
import shutil

import pytest
import torch

CHROMIUM = shutil.which("chromium")
torch.set_num_threads(1)  # the models are tiny, and the tests run in several processes


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import the tests, and let the garbage collector skip what that made: half a million objects that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny random CMLM on disk, with its data."""
    from tests.tiny_cmlm import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def large_queries(monkeypatch):
    """Queries for thousands of chains of a tiny model, which a call for every 64 rows would keep waiting."""
    from fairseq_mh.mcmc import masked_lm

    monkeypatch.setattr(masked_lm, "QUERY_ON_CPU", 4096)


@pytest.fixture
def mlm():
    """A tiny random BERT."""
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    from fairseq_mh.masked_lms.hugging_face import HuggingFaceMLM
    from tests.masked_lms.tiny_models import bert, tokenizer_of

    return HuggingFaceMLM(bert(), tokenizer_of())


@pytest.fixture(scope="module")  # its event loop must not outlive its tests
def browser():
    """Headless Chromium, where there is one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no chromium on the path")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()
