import importlib.util

if importlib.util.find_spec("transformers") is None:  # without the extra `hf`, what needs it is left out
    collect_ignore = ["test_text_models.py"]
