"""Writes a made-up output folder of `fairseq-mh experiments`, with two samplers, two seeds and two sentences."""

import json
from pathlib import Path

import polars as pl

HOSTILE = "<script>alert(1)</script> & Söhne"  # must be shown as text, never run
SOURCES = {0: "Übergrößenträger", 4: f"{HOSTILE} </script>"}
PIECES = ("▁a", "▁house", "▁über", "s", "▁<b>cat</b>")  # indices 4 to 8, after fairseq's special symbols
STATES = {0: [[4, 5], [4, 8], [6, 8]], 4: [[4, 5, 7], [4, 5, 7], [4, 5, 5]]}
COUNTS = {"proposals": [0, 3, 3], "accepted": [0, 2, 3], "novel": [0, 1, 1], "rows": [1, 6, 6]}
RUN = {
    "data": "tiny-de-en",
    "subset": "test",
    "sentences": 2,
    "bleu_signature": "nrefs:1|tok:13a",
    "chrf_signature": "nrefs:1|nc:6",
    "bleu_ci": 1.25,
    "chrf": 40.0,
    "chrf_ci": 0.75,
    "checkpoint": "best.pt 0123456789abcdef",
    "energy": 0.5,
    "corpus_energy_norm": 1500.0,
    "best_energy": 0.4,
    "acceptance_rate": 0.9,
    "novel_rate": 0.125,
    "rows": 100,
    "seconds": 1.5,
    "mh_energy": "norm",
    "iter_decode_max_iter": 10,
    "arguments": "--batch-size 2",
    "versions": "fairseq-mh=0.1.0",
}


def write_results(folder: Path, experiment: str = "table1") -> Path:
    rows, curves = [], []
    for decoder, temperature in (("MH norm", "1.0"), ("MH norm", "0.5"), (HOSTILE, "0.5")):
        for seed in (1, 2):
            key = f"run{len(rows)}"
            row = {"run": key, "experiment": experiment, "decoder": decoder, "seed": seed, "bleu": 20.0 + seed}
            rows.append({**row, "mh_proposal_temperature": temperature, **RUN})
            curves += [{"run": key, **_by_sweep(sweep, seed)} for sweep in range(3)]
            write_run(folder / "runs" / key)
    pl.DataFrame(rows).write_csv(folder / "results.csv")
    pl.DataFrame(curves).write_csv(folder / "curves.csv")
    return folder


def _by_sweep(sweep: int, seed: int) -> dict:
    rates = {"acceptance_rate": 0.9 if sweep else None, "novel_rate": 0.1 if sweep else None}
    return {"sweep": sweep, "energy": 1 / (sweep + seed), "bleu": 10.0 + sweep + seed, **rates}


def write_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    printed, trace = [], []
    for number, states in STATES.items():
        printed += [
            f"S-{number}\t{SOURCES[number]}",
            f"T-{number}\ta house {number}",
            f"D-{number}\t-1\tmy output {number}",
        ]
        for sweep, tokens in enumerate(states):
            counts = {name: values[sweep] for name, values in COUNTS.items()}
            record = {"id": number, "length": len(tokens), "chain": 0, "sweep": sweep, "temperature": 0.5}
            trace.append({**record, "tokens": tokens, "energy": 3.25 - sweep, **counts})
    (folder / "output.txt").write_text("\n".join(printed) + "\n", encoding="utf-8")
    (folder / "trace.jsonl").write_text("\n".join(map(json.dumps, trace)) + "\n", encoding="utf-8")


def write_data(folder: Path) -> Path:
    """Write those files of fairseq's data folder that the report reads."""
    folder.mkdir()
    (folder / "test.de-en.en.idx").touch()
    (folder / "dict.en.txt").write_text("".join(f"{piece} 1\n" for piece in PIECES), encoding="utf-8")
    return folder
