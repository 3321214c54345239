"""What protects the page from other web sites: the headers of every answer, and the name of the server."""

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
    """Adds the headers that every answer has, and refuses requests that call the server by another name.

    Args:
        hosts: its names, `*` for any.
    """

    def __init__(self, app: ASGIApp, hosts: list[str]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        known = scope["type"] != "http" or "*" in self.hosts or _host(scope) in self.hosts
        answer = self.app if known else PlainTextResponse("this is not the name of this server", 400)
        await answer(scope, receive, sent)


def _host(scope: Scope) -> str | None:
    """Return the host that a request names, without its port."""
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None
