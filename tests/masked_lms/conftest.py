"""Leave out tests whose optional packages are missing."""

import importlib.util

if importlib.util.find_spec("transformers") is None:  # the extra `hf` is not installed
    collect_ignore = ["test_text_models.py"]
