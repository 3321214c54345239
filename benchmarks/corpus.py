#!/usr/bin/env python3
"""Measure the cost of Ray, the gain from a second worker, and the cost of a killed run.

    python -m benchmarks.corpus models/libreoffice-de-en --sentencepiece models/libreoffice-de-en/spm.model

The program translates the test set with `fairseq-generate`, with `fairseq-mh corpus` in one process, and with one and
two Ray workers with one thread each. In the last run it kills the driver of two workers when half of the chunks are
done, and runs the same command again. It prints the figures as a table, and writes them as JSON with --output.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from benchmarks.decoding import PLUGIN

RUN = ("--mh-sweeps", "2", "--mh-chains", "1")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}


class Bench:
    """The timed runs on the test set of one data folder.

    Args:
        data: a fairseq data folder that holds checkpoint.pt and also the test set as text.
        source: the source language of the test set.
        pieces: a sentencepiece model.
        folder: the folder for the output.
        chunk_size: lines in a chunk.
    """

    def __init__(self, data: Path, source: str, pieces: Path, folder: Path, chunk_size: int):
        self.data, self.corpus, self.folder = data, data / f"test.{source}", folder
        self.lines = self.corpus.read_text(encoding="utf-8").count("\n")
        self.own = ("--chunk-size", str(chunk_size))
        self.more = ("--bpe", "sentencepiece", "--sentencepiece-model", str(pieces), *RUN)

    def generate(self) -> dict[str, float]:
        """Run `fairseq-generate`; return its seconds, and lines a second."""
        call = [sys.executable, "-m", "fairseq_cli.generate", str(self.data), *PLUGIN, "--task", "translation_mh"]
        call += ["--path", f"{self.data}/checkpoint.pt", "--gen-subset", "test", "--num-workers", "0", *self.more]
        start = time.perf_counter()
        subprocess.run(call, check=True, **QUIET)
        return self._figures(time.perf_counter() - start)

    def start(self, name: str, workers: int) -> subprocess.Popen:
        """Start `fairseq-mh corpus` with an output folder of this name."""
        call = [
            sys.executable,
            "-m",
            "fairseq_mh",
            "corpus",
            str(self.data),
            str(self.corpus),
            "--output",
            str(self.folder / name),
        ]
        return subprocess.Popen([*call, "--workers", str(workers), *self.own, "--", *self.more], **QUIET)

    def translate(self, name: str, workers: int) -> dict[str, float]:
        """Run `fairseq-mh corpus`; return its seconds, lines a second, and seconds until it wrote the first chunk."""
        start, process = time.perf_counter(), self.start(name, workers)
        self.wait(name, 1, process)
        first = time.perf_counter() - start
        if process.wait():
            sys.exit(f"a run failed: {process.args}")
        return self._figures(time.perf_counter() - start) | {"until the first chunk": first}

    def wait(self, name: str, chunks: int, process: subprocess.Popen) -> None:
        """Wait until the run has written this number of chunks or has ended."""
        while process.poll() is None and len(list((self.folder / name / "chunks").glob("*[0-9]"))) < chunks:
            time.sleep(0.05)

    def kill_and_resume(self, workers: int, chunks: int) -> dict[str, float]:
        """Kill the driver when it has written this number of chunks, and run again; return the figures of both runs."""
        start, process = time.perf_counter(), self.start("killed", workers)
        self.wait("killed", chunks, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.perf_counter() - start
        return self._figures(killed + self.translate("killed", workers)["seconds"])

    def _figures(self, seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "a second": self.lines / seconds}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="fairseq data folder with checkpoint.pt and the test set as text")
    parser.add_argument("--source", default="de", help="source language of the test set; default: %(default)s")
    parser.add_argument("--sentencepiece", type=Path, required=True, help="sentencepiece model of the data")
    parser.add_argument("--chunk-size", type=int, default=25, help="lines in a chunk; default: %(default)s")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.data, args.source, args.sentencepiece, Path(folder), args.chunk_size)
        figures = {
            "fairseq-generate": bench.generate(),
            "this process": bench.translate("here", 0),
            "1 worker": bench.translate("one", 1),
            "2 workers": bench.translate("two", 2),
            "2 workers, killed at half": bench.kill_and_resume(2, bench.lines // args.chunk_size // 2),
        }
    print(tabulate([{"": name, **row} for name, row in figures.items()], headers="keys", floatfmt=".2f"))
    if args.output:
        args.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
