"""`python -m fairseq_mh` is the command `fairseq-mh`."""

import sys

from fairseq_mh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
