"""Drives one unmodified release of openai through the gateway; only the base URL and SSL_CERT_FILE differ from direct use."""

import asyncio
import base64
import math
import os
import struct
import sys

from openai import AuthenticationError, OpenAI
from websockets.exceptions import ConnectionClosed

import tokens  # noqa: F401 - registers its checks
from checks import WRONG_KEY, check, run
from suite import REALTIME_MODEL, REST_MODEL, client, hello, response


def tone():
    """A fifth of a second of 440 Hz, 16-bit little-endian at 24 kHz, and then silence, both in base64."""
    loud = b"".join(struct.pack("<h", int(8000 * math.sin(2 * math.pi * 440 * n / 24000))) for n in range(4800))
    return base64.b64encode(loud).decode(), base64.b64encode(bytes(9600)).decode()


async def text_session(client):
    async with client.realtime.connect(model=REALTIME_MODEL) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for _ in range(2):
            await connection.conversation.item.create(item=hello())
            await connection.response.create()
            events = await response(connection)
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            assert "hello" in text, f"answered `{text}`"


@check("realtime text")
async def _():
    await text_session(client())


@check("realtime text, of a client with an organization and a project")
async def _():
    await text_session(client(organization="org_client", project="proj_client"))


@check("realtime text below a prefix")
async def _():
    await text_session(client(below="/openai"))


@check("realtime text, not async")
async def _():
    def session():
        # In plain text: websockets' own threads read and write one TLS connection at once, which OpenSSL does not
        # allow, and about one handshake in a thousand is lost for it, whatever the server.
        plain = os.environ["SUITE_PLAIN"].rstrip("/").replace("http", "ws", 1) + "/v1"
        with client(OpenAI, base="SUITE_PLAIN", websocket_base_url=plain).realtime.connect(model=REALTIME_MODEL) as connection:
            connection.conversation.item.create(item=hello())
            connection.response.create(response={"output_modalities": ["text"]})
            for event in connection:
                if event.type == "response.done":
                    return event.response.output[0].content[0].text

    text = await asyncio.to_thread(session)
    assert "hello" in text, f"answered `{text}`"


@check("realtime audio")
async def _():
    async with client().realtime.connect(model=REALTIME_MODEL) as connection:
        for audio in tone():
            await connection.input_audio_buffer.append(audio=audio)
        events = await response(connection)
        heard = [event.delta for event in events if event.type == "response.output_audio.delta"]
        assert heard and base64.b64decode(heard[0]), f"no audio in {len(events)} events"


if hasattr(getattr(client().beta, "realtime", None), "connect"):

    @check("a client of the beta is led to what there is today")
    async def _():
        async with client().beta.realtime.connect(model=REALTIME_MODEL) as connection:
            event = await connection.recv()
            assert event.type == "session.created", f"`{event}`"


@check("responses")
async def _():
    answer = await client().responses.create(model=REST_MODEL, input="hello")
    assert "hello" in answer.output_text, f"answered `{answer.output_text}`"


@check("responses, as a stream")
async def _():
    stream = await client().responses.create(model=REST_MODEL, input="hello", stream=True)
    events = [event async for event in stream]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "hello" in text and events[-1].type == "response.completed", f"answered `{text}`"


@check("chat completions, as a stream and not")
async def _():
    messages = [{"role": "user", "content": "hello"}]
    whole = client(OpenAI).chat.completions.create(model=REST_MODEL, messages=messages)
    assert "hello" in whole.choices[0].message.content
    stream = await client().chat.completions.create(model=REST_MODEL, messages=messages, stream=True)
    chunks = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert len(chunks) > 1 and "hello" in "".join(chunks), f"answered {chunks}"


@check("models, below a prefix")
async def _():
    models = [model.id async for model in client(below="/openai").models.list()]
    assert REALTIME_MODEL in models, f"{models}"


@check("realtime says why a wrong key is refused")
async def _():
    events = []
    try:
        async with client(key=WRONG_KEY).realtime.connect(model=REALTIME_MODEL) as connection:
            while True:
                events.append(await connection.recv())
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 3000 and closed.rcvd.reason.startswith("credential_invalid: "), f"`{closed}`"
    assert [event.type for event in events] == ["error"], f"{events}"
    error = events[0].error
    assert error.code == "credential_invalid" and error.message.startswith("credential_invalid: "), f"{error}"


@check("realtime says why a wrong key is refused to one who talks first")
async def _():
    try:
        async with client(key=WRONG_KEY).realtime.connect(model=REALTIME_MODEL) as connection:
            while True:
                await connection.conversation.item.create(item=hello())
                await asyncio.sleep(0.01)
    except ConnectionClosed as closed:
        assert "3000" in str(closed) and "credential_invalid" in str(closed), f"`{closed}`"


@check("responses say why a wrong key is refused")
async def _():
    try:
        await client(key=WRONG_KEY).responses.create(model=REST_MODEL, input="hello")
    except AuthenticationError as error:
        assert error.code == "credential_invalid" and "credential_invalid: " in str(error), f"`{error}`"
    else:
        raise AssertionError("it was not refused")


sys.exit(asyncio.run(run()))
