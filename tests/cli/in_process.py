"""Runs the command `fairseq-mh` in the process of the test, which saves the time of its imports."""

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout

from fairseq_mh.cli.main import main


def called(*arguments) -> subprocess.CompletedProcess:
    """Run a command line, and return its status and output, as `subprocess.run` does."""
    call, output, errors = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = main(call)
    return subprocess.CompletedProcess(call, status, output.getvalue(), errors.getvalue())
