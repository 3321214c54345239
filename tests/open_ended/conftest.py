import importlib.util

import pytest

if importlib.util.find_spec("transformers") is None:  # without the extra `hf`, what needs it is left out
    collect_ignore = ["test_embedded_mlm.py", "test_judging.py", "test_sample_mlm.py", "test_text_models.py"]


@pytest.fixture
def mlm():
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    from tiny_models import bert, tokenizer_of

    from fairseq_mh.open_ended.hugging_face import HuggingFaceMLM

    return HuggingFaceMLM(bert(), tokenizer_of())
