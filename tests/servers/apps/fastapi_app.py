"""FastAPI with both kinds of endpoints: in the event loop, and in a pool of threads."""

from __future__ import annotations

import owed
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/loop", response_class=PlainTextResponse)
async def in_the_loop(request: str) -> str:
    owed.log(request)
    return f"logged {request}"


@app.get("/", response_class=PlainTextResponse)
def in_a_thread(request: str) -> str:
    owed.log(request)
    return f"logged {request}"
