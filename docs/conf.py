"""Settings of Sphinx. The site is built without network, and `make docs` fails on a warning."""

import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "extensions")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fairseq_mh  # noqa: E402
import fairseq_mh.translator  # noqa: E402

logging.getLogger().setLevel(logging.WARNING)  # fairseq and Hydra set it to DEBUG

project, author = "fairseq-mh", "The fairseq-mh developers"
copyright = author
release = version = fairseq_mh.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
extensions += ["option_tables", "plain_docstrings", "tuple_fields", "typography"]  # in extensions/
exclude_patterns = ["_build"]

myst_heading_anchors = 3  # anchors like GitHub's, so that links work there and here
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"  # fields have their types in `Attributes:`
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
nitpick_ignore_regex = [("py:.*", ".*")]  # types of torch, numpy and fairseq, whose sites cannot be reached

html_theme = "furo"
html_title = "fairseq-mh"
html_static_path, html_css_files = ["static"], ["tables.css"]
html_show_sourcelink = False
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
