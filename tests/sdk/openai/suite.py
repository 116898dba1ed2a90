"""What the checks share: clients and sessions as an application makes them.

Where the gateway is comes from the environment: SUITE_TLS and SUITE_PLAIN; OpenAI's paths are at its root and below /openai.
"""

import os

from openai import AsyncOpenAI

from checks import own_key

REALTIME_MODEL = "gpt-realtime"
REST_MODEL = "gpt-5"


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
