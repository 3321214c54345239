# Everything happens in .venv; the stamp is renewed when the requirements change.
PYTHON ?= $(firstword $(foreach version,3.11 3.12,$(shell command -v python$(version) 2>/dev/null)))
BIN := .venv/bin

PORT ?= 8765

.PHONY: demo page test slow heavy lint docs clean

demo: .venv/installed
	$(BIN)/fairseq-mh demo

# A page in the browser to translate on, with the embedded model.
page: .venv/installed
	$(BIN)/fairseq-mh page models/libreoffice-de-en --port $(PORT)

test: .venv/installed
	$(BIN)/python -m pytest

# What starts many processes or trains for a minute; CI runs it after `make test`.
slow: .venv/installed
	$(BIN)/python -m pytest -m slow

# What takes minutes: processes killed, long fuzz runs, every command of the documentation.
heavy: .venv/installed
	$(BIN)/python -m pytest -m heavy

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: there is no python3.11 or python3.12; install one, or say where: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "make: $(PYTHON) is not Python 3.11 or 3.12, which are the ones that serve" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	# torch by its pinned version first: what the index holds under a bare name may be the much larger CUDA build.
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench,dev,docs,eval,hf,page,ray,report]"
	# fairseq requires torchaudio, but needs it for speech only. Its build needs CUDA, and stops transformers without it.
	$(BIN)/pip uninstall --quiet --yes torchaudio
	touch $@

# The documentation, in docs/_build/html; a warning, a broken link among them, is an error.
docs: .venv/installed
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo "docs/_build/html/index.html is written"

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache docs/_build
