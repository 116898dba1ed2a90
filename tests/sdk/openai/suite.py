"""What the checks share: where things are, a client as an application makes it, and a runner that prints each outcome.

Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. Where things are comes from the environment:
SUITE_TLS and SUITE_PLAIN (the gateway; OpenAI's paths are at its root and below /openai), SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY,
SUITE_TOKENS_FILE (where minted tokens are noted, to be searched for afterwards).
"""

import asyncio
import os
from pathlib import Path

from openai import AsyncOpenAI

REALTIME_MODEL = "gpt-realtime"
REST_MODEL = "gpt-5"
# Well-formed, but no gateway ever issued it.
WRONG_KEY = os.environ["SUITE_WRONG_KEY"]
LIMIT_SECS = 20

CHECKS = []


def check(name):
    """Registers a function as the check `name`."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


def own_key():
    """The backend's key."""
    return Path(os.environ["SUITE_KEY_FILE"]).read_text().strip()


def note(token):
    """Notes a minted token, so that everything can be searched for it when all is over."""
    with open(os.environ["SUITE_TOKENS_FILE"], "a", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def client(kind=AsyncOpenAI, key=None, *, base="SUITE_TLS", below="", **more):
    """A client as an application makes it."""
    key = key or own_key()
    return kind(api_key=key, base_url=os.environ[base].rstrip("/") + below + "/v1", max_retries=0, **more)


def hello():
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


async def response(connection):
    """All events up to the end of the response."""
    events = []
    async for event in connection:
        assert event.type != "error", f"an error event: {event.error}"
        events.append(event)
        if event.type == "response.done":
            return events
    raise AssertionError("the session ended before the response")


async def run():
    """Runs every check, and says how many failed."""
    failed = 0
    for name, function in CHECKS:
        try:
            await asyncio.wait_for(function(), LIMIT_SECS)
        except Exception as error:  # whatever the SDK raises is the finding
            failed += 1
            text = " ".join(str(error).split())
            print(f"FAIL {name}: {type(error).__module__}.{type(error).__name__} {text}", flush=True)
        else:
            print(f"ok {name}", flush=True)
    return 1 if failed else 0
