import pytest
from tiny_models import bert, tokenizer_of

from fairseq_mh.open_ended.hugging_face import HuggingFaceMLM


@pytest.fixture
def mlm():
    return HuggingFaceMLM(bert(), tokenizer_of())
