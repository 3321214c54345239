"""The training of the embedded models starts; training itself is tried where its models are (`test_electric.py`)."""

import subprocess
import sys
from pathlib import Path

from scripts import fairseq_training


def test_its_tasks_can_be_registered():
    script = Path(fairseq_training.__file__)
    result = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
