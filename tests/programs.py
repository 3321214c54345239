"""The programs that users run, in processes of their own that do not spend seconds on imports.

Each program is replaced by a small client of the same name. The client sends its arguments, folder, environment and
open files to a server process that has imported fairseq; the server forks, and its child runs the program. A few tests
start processes that import everything themselves: the tests of imports, and one test of Ctrl-C for each program
(tests/cli, tests/test_wheel.py).
"""

import atexit
import contextlib
import functools
import gc
import json
import logging
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAIRSEQ = ("generate", "interactive", "preprocess", "train")
PROGRAMS = ("python", "fairseq-mh", *(f"fairseq-{name}" for name in FAIRSEQ))
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
call = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ), os.getpid()]
call = json.dumps(call).encode()
socket.send_fds(server, [len(call).to_bytes(4, "big")], [0, 1, 2])
server.sendall(call)
sys.exit(int.from_bytes(server.recv(4) or b"\x01", "big"))
"""


class Programs:
    """The server process, and a folder of clients to put on the PATH."""

    def __init__(self, folder: Path):
        self.folder, self.bin, path = folder, folder / "bin", str(folder / "socket")
        self.bin.mkdir()
        for name in PROGRAMS:
            client = self.bin / name
            client.write_text(CLIENT.format(python=sys.executable, path=path))
            client.chmod(client.stat().st_mode | stat.S_IXUSR)
        self.log = (folder / "log").open("w")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, path]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, cwd=folder
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", (folder / "log").read_text()

    def run(self, script: str, folder: Path) -> subprocess.CompletedProcess:
        """Run a bash script in a folder."""
        environment = os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@functools.cache
def programs() -> Programs:
    """Return the programs for this process of tests; they end with it."""
    folder = tempfile.TemporaryDirectory()
    started = Programs(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(started.close)
    return started


def run_program(name: str, *arguments, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run one of `PROGRAMS`, and return its status and what it printed."""
    call = [str(programs().bin / name), *map(str, arguments)]
    return subprocess.run(call, input=stdin, capture_output=True, text=True, check=False, cwd=cwd)


def start_program(name: str, *arguments, **options) -> subprocess.Popen:
    """Start the client of one of `PROGRAMS`, and return it while the program runs."""
    return subprocess.Popen([str(programs().bin / name), *map(str, arguments)], text=True, **options)


def send_signal(client: subprocess.Popen, number: int) -> None:
    """Send a signal to the program that a client waits for."""
    os.kill(int((programs().folder / f"socket.{client.pid}").read_text()), number)


def serve(path: str) -> None:
    """Import the slow packages and compose the options, and then answer each call with a child process."""
    import sacrebleu  # noqa: F401
    import torch
    from fairseq_cli import generate, interactive, preprocess, train  # noqa: F401

    import fairseq_mh.cli.translate
    import fairseq_mh.corpus.driver
    import fairseq_mh.tasks.translation_mh  # noqa: F401
    from fairseq_mh.loading import parse_generate_options
    from tests.configurations import keep_composed

    with contextlib.suppress(ImportError):  # it is optional
        from transformers import AutoModelForMaskedLM  # noqa: F401
    torch.set_num_threads(1)
    keep_composed()
    with warnings.catch_warnings():
        parse_generate_options("data", ())  # is composed for all children
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(16)
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                answer(client, path)
            client.close()


def answer(client: socket.socket, path: str) -> None:
    """Run the program that a client asks for, and end this process with it."""
    head, files, _, _ = socket.recv_fds(client, 4, 3)
    size, call = int.from_bytes(head, "big"), b""
    while len(call) < size:
        call += client.recv(size - len(call))
    name, arguments, folder, environment, caller = json.loads(call)
    Path(f"{path}.{caller}").write_text(str(os.getpid()))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.update(environment)
    if os.environ.get("PYTHONUNBUFFERED"):  # Python reads this variable only when it starts
        sys.stdout.reconfigure(write_through=True)
    status = 1
    try:
        status = _status_of(lambda: program(name, arguments))
    finally:
        client.sendall(status.to_bytes(4, "big"))
        os._exit(0)


def _status_of(run) -> int:
    try:
        status = run()
    except SystemExit as ended:
        status = ended.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status or 0


def program(name: str, arguments: list[str]) -> int | None:
    """Run a program in this process."""
    sys.argv = [name, *arguments]
    if name == "fairseq-mh":
        from fairseq_mh.cli.main import main

        return main(arguments)
    if name == "python":
        return _python(arguments)
    if name == "fairseq-generate":
        sys.argv += ["--num-workers", "0"]  # a worker takes seconds to end
    _run_module(f"fairseq_cli.{name.removeprefix('fairseq-')}")
    return 0


def _run_module(name: str) -> None:
    """Run a module as a program."""
    if name == "fairseq_cli.train":  # run as a program, it configures logging before other imports do
        logging.root.handlers.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _python(arguments: list[str]) -> None:
    kind, what, *rest = arguments
    sys.path.insert(0, "")
    if kind == "-c":
        sys.argv = ["-c", *rest]
        exec(compile(what, "<documentation>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = [what, *rest]
        _run_module(what)
    else:
        sys.argv = [kind, what, *rest]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
