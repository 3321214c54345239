import importlib.util

if importlib.util.find_spec("transformers") is None:  # without the extra `hf`, what needs it is left out
    collect_ignore = ["test_embedded_mlm.py", "test_judging.py", "test_sample_mlm.py"]
