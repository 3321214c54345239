"""The fixtures that several folders of tests share; fairseq is imported where one of them needs it alone."""

import pytest
import torch

torch.set_num_threads(1)  # the models are tiny, and the tests run in several processes


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny random CMLM on disk, with its data."""
    from tests.tiny_cmlm import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def mlm():
    """A tiny random BERT."""
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    from fairseq_mh.masked_lms.hugging_face import HuggingFaceMLM
    from tests.masked_lms.tiny_models import bert, tokenizer_of

    return HuggingFaceMLM(bert(), tokenizer_of())
