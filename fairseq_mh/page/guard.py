"""Protects the page from other web sites, by the headers of every response and a check of the server's name."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Adds the security headers to every response, and refuses requests that call the server by another name.

    Args:
        app: the application to protect.
        hosts: the names of the server; `*` allows any.
    """

    def __init__(self, app: ASGIApp, hosts: list[str]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        known = scope["type"] != "http" or "*" in self.hosts or _host(scope) in self.hosts
        response = self.app if known else PlainTextResponse("this is not the name of this server", 400)
        await response(scope, receive, send_with_headers)


def _host(scope: Scope) -> str | None:
    """Return the host name of a request, without the port; None if it is invalid."""
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None
