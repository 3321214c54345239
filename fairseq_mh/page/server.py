"""The page's server: it serves the page's files, translations and alternatives. No request reads or writes a file."""

import ipaddress
import logging
import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fairseq_mh import viewer
from fairseq_mh.errors import UserError
from fairseq_mh.page import events, limits
from fairseq_mh.page.guard import Guard
from fairseq_mh.page.jobs import FAILED, BusyError, Jobs
from fairseq_mh.translator import Translator

logger = logging.getLogger(__name__)
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ALTERNATIVES = 8
SECONDS_TO_END = 1  # time that running decodings have left when the server is asked to end


class Server:
    """Answers the page's requests.

    Args:
        translator: the translator that the page uses.
        name: the name of the model, for the page's title.

    Raises:
        UserError: if the page's file in the model's folder cannot be read.
    """

    def __init__(self, translator: Translator, name: str):
        self.translator, self.jobs = translator, Jobs(limits.AT_ONCE)
        self.known = {
            **limits.about_model(Path(translator.data)),
            "model": name,
            "source": limits.SOURCE,
            "numbers": {name: {"least": of.least, "most": of.most} for name, of in limits.NUMBERS.items()},
            "presets": limits.preset_values(translator.arguments),
        }

    async def about(self, request: Request) -> Response:
        """Return the name of the model, what it knows, and the limits and defaults of requests."""
        return JSONResponse(self.known)

    async def translate(self, request: Request) -> Response:
        """Translate a source, and send an event for every sweep during the decoding."""
        wanted = limits.wanted(await _body(request))
        lines = self.jobs.stream(events.decode(self.translator, wanted))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def alternatives(self, request: Request) -> Response:
        """Return the alternatives at a position of a translation."""
        wanted = limits.wanted(await _body(request))
        return JSONResponse(await self.jobs.begin(events.alternatives, self.translator, wanted, ALTERNATIVES))


async def _body(request: Request) -> bytes:
    """Return the body of a request."""
    # The content type keeps out forms of other sites.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("the request is not understood: it must be JSON")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.BODY:
            raise UserError(f"the request is too long: this page takes at most {limits.BODY:,} bytes")
    return body


async def _refusal(request: Request, error: Exception) -> Response:
    status = 503 if isinstance(error, BusyError) else 400
    return JSONResponse({"kind": "error", "message": str(error)}, status)


async def _failure(request: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return JSONResponse({"kind": "error", "message": FAILED}, 500)


def application(translator: Translator, name: str, hosts: list[str]) -> Starlette:
    """Return the server's application.

    Args:
        translator: the translator that the page uses.
        name: the name of the model.
        hosts: the names by which a browser may ask for the page; `*` allows any. Other names are refused, so that no
            other site can reach the page through a name of its own that points here.

    Raises:
        UserError: as in `Server`.
    """
    server = Server(translator, name)
    routes = [Route(path, asset, methods=["GET"]) for path, asset in _assets().items()]
    routes += [
        Route("/about", server.about),
        Route("/translate", server.translate, methods=["POST"]),
        Route("/alternatives", server.alternatives, methods=["POST"]),
    ]
    middleware = [Middleware(Guard, hosts=hosts)]
    handlers: dict[Any, Any] = {UserError: _refusal, Exception: _failure}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


def _assets() -> dict[str, Response]:
    """Return the page's files as responses, by their paths on the server."""
    own = {file.name: file.read_bytes() for file in files("fairseq_mh.page").joinpath("assets").iterdir()}
    shared = {name: viewer.asset(name).encode() for name in (*viewer.SCRIPTS, viewer.STYLE)}
    kinds = {name: KINDS["." + name.rpartition(".")[2]] for name in own | shared}
    found = {f"/{name}": Response(content, media_type=kinds[name]) for name, content in (own | shared).items()}
    return {"/": found.pop("/index.html"), **found}


def is_local(host: str) -> bool:
    """Return whether only this machine can reach this address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at this address; port 0 takes a free port.

    Raises:
        UserError: if the address cannot be listened on.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port} cannot be listened on: {error}") from None


def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until the process is interrupted."""
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=SECONDS_TO_END)
    uvicorn.Server(config).run(sockets=[listening])
