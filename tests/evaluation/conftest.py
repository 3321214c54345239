"""The fixture of the tests that decode by runs of an experiment."""

import pytest


@pytest.fixture
def forked_runs(monkeypatch):
    """Start each run in a fork of a process in which fairseq is imported already, which saves the seconds of that."""
    from fairseq_mh.evaluation.translation_bench import TranslationBench
    from tests.programs import programs

    command, python = TranslationBench._command, str(programs().bin / "python")
    monkeypatch.setattr(TranslationBench, "_command", lambda *given: [python, *command(*given)[1:]])
