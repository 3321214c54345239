"""Make one HTML page of experiments: figures by sweep, tables, quality against cost, and a viewer of the chains.

    fairseq-mh report out/figures out/table1 --data models/libreoffice-de-en --output out/report.html

    fairseq-mh report --trace trace.jsonl --data models/libreoffice-de-en --output out/trace.html

Each folder is an --output of fairseq-mh experiments; all folders must be for the same sentences. If the paper reports
an experiment, its figures are shown next to the results. If the folder of the runs is missing, as in published results,
no chains are shown. With --trace, the page only has the viewer of one trace (--mh-trace). The page needs no network.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.page import read_paper, render_page, render_trace, write_page


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="*", metavar="FOLDER", help="outputs of fairseq-mh experiments")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="show the chains of this trace instead")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--data", type=Path, help="fairseq's data folder, for the tokens in the chain viewer")
    parser.add_argument(
        "--sentences",
        type=whole_number(1),
        default=20,
        metavar="N",
        help="show the chains of the first N; default: %(default)s",
    )


def run(args: Namespace) -> None:
    if bool(args.trace) == bool(args.results):
        raise UserError("give outputs of fairseq-mh experiments or --trace FILE, one of them")
    if args.trace and not args.data:
        raise UserError("--trace needs --data, because the words of its tokens are in the data's dictionary")
    if args.trace:
        write_page(render_trace(args.trace, args.data, args.sentences), args.output)
    else:
        write_page(render_page(args.results, args.data, args.sentences, read_paper()), args.output)
    if not args.data:
        print("without --data the page has no chain viewer: its pieces are in the data's dictionary")
    print(f"{args.output} is written")
