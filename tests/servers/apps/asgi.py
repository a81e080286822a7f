"""An ASGI application that logs for each request and then answers."""

from __future__ import annotations

from typing import Any

import owed


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    request = scope["query_string"].decode().partition("request=")[2]
    owed.log(request)
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"logged {request}".encode()})
