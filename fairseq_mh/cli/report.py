"""Make one HTML page of experiments: figures by sweep, tables, quality against cost, and a viewer of the chains.

    fairseq-mh report out/figures out/table1 --data models/libreoffice-de-en --output out/report.html

    fairseq-mh report --trace trace.jsonl --data models/libreoffice-de-en --output out/trace.html

Each folder is an --output of fairseq-mh experiments; all of them must be of the same sentences. Where the paper reports
an experiment, its figures stand next to the page's own. A table without the folder of its runs, as it is published, is
shown without the chains. With --trace the page is the viewer of one trace (--mh-trace), and nothing else. The page
opens without a network.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.page import read_paper, render_page, render_trace, write_page


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="*", metavar="FOLDER", help="what fairseq-mh experiments wrote")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="show the chains of this trace instead")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--data", type=Path, help="fairseq's data folder, whose pieces the chain viewer shows")
    parser.add_argument(
        "--sentences", type=int, default=20, metavar="N", help="the viewer shows the first N; default: %(default)s"
    )


def run(args: Namespace) -> None:
    if bool(args.trace) == bool(args.results):
        raise UserError("give what fairseq-mh experiments wrote, or --trace FILE: one of them")
    if args.trace and not args.data:
        raise UserError("--trace needs --data: the words of its tokens are in the data's dictionary")
    if args.trace:
        write_page(render_trace(args.trace, args.data, args.sentences), args.output)
    else:
        write_page(render_page(args.results, args.data, args.sentences, read_paper()), args.output)
    if not args.data:
        print("without --data the page has no chain viewer: its pieces are in the data's dictionary")
    print(f"{args.output} is written")
