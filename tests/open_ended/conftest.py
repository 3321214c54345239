import importlib.util

if importlib.util.find_spec("transformers") is None:  # these tests need the extra `hf`
    collect_ignore = ["test_embedded_mlm.py", "test_judging.py", "test_sample_mlm.py", "test_texts.py"]
