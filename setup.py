"""Metadata and dependencies; the versions that are tested together are in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.*)"', (here / "fairseq_mh/__init__.py").read_text(encoding="utf-8")).group(1)

setup(
    name="fairseq-mh",
    version=version,
    description="Metropolis-Hastings decoding of conditional masked language models, as a fairseq plugin",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["fairseq_mh", "fairseq_mh.*"]),
    package_data={
        "fairseq_mh.evaluation.report": ["*.html", "*.css", "*.js"],
        "fairseq_mh.evaluation": ["*.yaml", "grids/*.yaml"],
    },
    python_requires=">=3.10,<3.13",
    install_requires=[
        # fairseq 0.12.2 does not import on Python 3.11; ve-fairseq is its main branch, under the same import name.
        'fairseq>=0.12.2; python_version < "3.11"',
        've-fairseq>=0.12.3; python_version >= "3.11"',
        "torch>=2.6",
        "numpy",
        "sacrebleu>=2.4",
        "sentencepiece>=0.2",
        "tqdm",
    ],
    extras_require={
        "eval": ["arviz-stats>=0.6", "polars>=1", "pyyaml", "tabulate"],
        "report": ["jinja2>=3", "plotly>=6", "polars>=1", "pyyaml", "tabulate"],
        "bench": ["matplotlib>=3.9"],
        "ray": ["polars>=2", "ray[data]>=2.40,<2.64"],
        "hf": ["accelerate>=1", "gguf>=0.10", "transformers>=5"],
        "dev": ["hypothesis", "mypy", "playwright", "pytest", "pytest-xdist", "ruff", "scipy"],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
