"""Serve a web page on this machine that translates sentences and shows their chains.

    fairseq-mh page models/libreoffice-de-en --port 8765

Open the printed address in a browser. The page needs nothing from outside the machine, and other machines cannot reach
it unless --host is given. Control-C ends it. Options of fairseq-generate for the model (--path, --cpu) go after `--`.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.loading import with_pieces
from fairseq_mh.page.server import application, is_local, listen, serve
from fairseq_mh.translator import Translator

TAKES_MORE = "OPTIONS OF fairseq-generate"
HERE = "127.0.0.1"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="FOLDER", help="fairseq's data folder, with checkpoint.pt and spm.model")
    parser.add_argument("--port", type=int, default=8765, metavar="N", help="0: any free port; default: %(default)s")
    parser.add_argument(
        "--host", default=HERE, help="address to listen at; everybody who can reach it can translate on this machine"
    )


def run(args: Namespace) -> None:
    with listen(args.host, args.port) as listening:
        translator = Translator(args.data, with_pieces(args.data, args.more))
        local, port = is_local(args.host), listening.getsockname()[1]
        app = application(translator, Path(args.data).resolve().name, hosts_of(args.host))
        if not local:
            print(
                f"--host {args.host}: everybody who can reach this address can translate here, unencrypted and without "
                "a password. What they type is not kept."
            )
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"the page is at http://{shown}:{port}/ (Control-C ends it)", flush=True)
        serve(app, listening)


def hosts_of(host: str) -> list[str]:
    """Return the host names that a browser may use for the page at this address."""
    return [HERE, "localhost", host] if is_local(host) else ["*"]
