"""Client secrets as applications use them: a backend mints with its key, an app connects with what it was given."""

import asyncio
import json
import os
import ssl
import urllib.request

from openai import PermissionDeniedError
from websockets.exceptions import ConnectionClosed

from checks import check, note, own_key
from suite import REALTIME_MODEL, REST_MODEL, client, hello, response

# What the backend below locks: the app may ask for anything else.
PIRATE = {"type": "realtime", "model": REALTIME_MODEL, "instructions": "Talk like a pirate."}
UNKNOWN = "ek_kmt_TestVector0TestVector0TestVector0TestVector13nLa6"


async def mint(**body):
    """A client secret as a backend mints it."""
    secret = await client().realtime.client_secrets.create(**(body or {"session": PIRATE}))
    assert secret.value.startswith("ek_kmt_"), "another value was given"
    return note(secret.value)


def call(method, path, body=None):
    """A call that no SDK makes: `path` below the gateway's root, with the backend's key and a JSON body."""
    headers = {"authorization": f"Bearer {own_key()}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["SUITE_TLS"].rstrip("/") + path, data, headers, method=method)
    with urllib.request.urlopen(request, context=ssl.create_default_context()) as answer:
        return json.loads(answer.read() or b"null")


def mint_own(**body):
    """The same with limits that OpenAI's API has no words for, and the id to revoke it by."""
    minted = call("POST", "/keymoat/v1/tokens", body)
    return note(minted["spellings"]["openai"]), minted["id"]


async def until(connection, kind):
    """The next event of this kind."""
    async for event in connection:
        assert event.type != "error", f"an error event: {event.error}"
        if event.type == kind:
            return event
    raise AssertionError("the session ended before")


async def talk(secret):
    """One turn of a session that is opened with `secret`."""
    async with client(key=secret).realtime.connect(model=REALTIME_MODEL) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(item=hello())
        await connection.response.create()
        events = await response(connection)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "hello" in text, f"answered `{text}`"


async def refused(secret, code, model=REALTIME_MODEL):
    """Expects what an app is told that is not let in: an event that says why, then a close that says it again."""
    events = []
    try:
        async with client(key=secret).realtime.connect(model=model) as connection:
            while True:
                events.append(await connection.recv())
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 3000 and closed.rcvd.reason.startswith(f"{code}: "), f"`{closed}`"
    assert [event.type for event in events] == ["error"], f"{events}"
    error = events[0].error
    assert error.code == code and error.message.startswith(f"{code}: "), f"{error}"


@check("a client secret talks, again and again")
async def _():
    secret = await mint()
    for _ in range(2):
        await talk(secret)


@check("a client secret for no session in particular talks")
async def _():
    await talk(await mint(expires_after={"anchor": "created_at", "seconds": 60}))


@check("a client secret of the older call talks")
async def _():
    older = getattr(getattr(client().beta, "realtime", None), "sessions", None)
    if older:
        secret = (await older.create(model=REALTIME_MODEL, voice="alloy", modalities=["text"])).client_secret.value
    else:
        secret = call("POST", "/v1/realtime/sessions", {"model": REALTIME_MODEL, "voice": "alloy"})["client_secret"]["value"]
    assert secret.startswith("ek_kmt_"), "another value was given"
    await talk(note(secret))


@check("an app does not get round what its client secret locks")
async def _():
    async with client(key=await mint()).realtime.connect(model=REALTIME_MODEL) as connection:
        await until(connection, "session.updated")
        asked = {"type": "realtime", "instructions": "Say what I say.", "output_modalities": ["text"]}
        await connection.session.update(session=asked)
        session = (await until(connection, "session.updated")).session
        assert session.instructions == PIRATE["instructions"], f"`{session.instructions}`"
        assert session.output_modalities == ["text"], "what is not locked is the app's"
        await connection.session.update(session={"type": "realtime", "model": "gpt-realtime-mini"})
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 3000 and closed.rcvd.reason.startswith("forbidden: "), f"`{closed}`"


@check("a client secret is for the model that it was minted for")
async def _():
    await refused(await mint(), "forbidden", model="gpt-realtime-mini")


@check("an app is told that its client secret is used up")
async def _():
    secret, _ = mint_own(uses=1)
    await talk(secret)
    await refused(secret, "token_used_up")


@check("an app is told that its client secret has expired")
async def _():
    secret, _ = mint_own(start_within="1s", live_for="1s")
    await asyncio.sleep(1.2)
    await refused(secret, "token_expired")


@check("an app is told that its client secret is not one")
async def _():
    await refused(UNKNOWN, "credential_invalid")


@check("an app is told in the middle of a session that its client secret was revoked")
async def _():
    secret, token_id = mint_own(uses=2, constraints={"openai": {"session": PIRATE}})
    async with client(key=secret).realtime.connect(model=REALTIME_MODEL) as connection:
        await until(connection, "session.updated")
        call("DELETE", f"/keymoat/v1/tokens/{token_id}")
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 3000, f"`{closed}`"
            assert closed.rcvd.reason.startswith("credential_revoked: "), f"`{closed}`"
    await refused(secret, "credential_revoked")


@check("a client secret mints no other and reaches no REST")
async def _():
    app = client(key=await mint())
    for attempt in (app.realtime.client_secrets.create(), app.responses.create(model=REST_MODEL, input="hello")):
        try:
            await attempt
        except PermissionDeniedError as error:
            assert error.code == "forbidden" and "forbidden: " in str(error), f"`{error}`"
        else:
            raise AssertionError("it was not refused")
