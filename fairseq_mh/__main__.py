"""`python -m fairseq_mh` prints the folder to give to fairseq as `--user-dir`."""

from pathlib import Path

print(Path(__file__).parent)
