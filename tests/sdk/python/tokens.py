"""Ephemeral tokens as applications use them: a backend mints with its key, an app connects with the token."""

from google.genai import errors, types

from checks import check, note
from suite import CLOSED, LIVE_MODEL, MUSIC_MODEL, client, refusal, said

TEXT = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
AUDIO = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO])


async def mint(version=None, **config):
    """A token as a backend mints it."""
    token = await client(version=version).aio.auth_tokens.create(config=config)
    assert token.name.startswith("auth_tokens/kmt_"), "another name was given"
    return note(token.name)


async def talk(key, config=TEXT, version=None, base="SUITE_TLS"):
    """The messages of one turn of a session that is opened with `key`."""
    app = client(key, version=version, base=base)
    async with app.aio.live.connect(model=LIVE_MODEL, config=config) as session:
        return await said(session, "hello")


def text(messages):
    return "".join(message.text or "" for message in messages)


@check("a token without any limits of its own talks")
async def _():
    assert "hello" in text(await talk(await mint()))


@check("a token talks in every version of the API")
async def _():
    for version in ("v1", "v1beta", "v1alpha"):
        assert "hello" in text(await talk(await mint(version=version), version=version)), version


@check("a token with two uses talks twice and is then used up")
async def _():
    token = await mint(uses=2)
    for _ in range(2):
        assert "hello" in text(await talk(token))
    error = await refusal(CLOSED, talk(token))
    assert "1008" in str(error) and "token_used_up" in str(error), f"`{error}`"


@check("a locked setup is the session's, whatever the app asks for")
async def _():
    locked = {"model": LIVE_MODEL, "config": {"response_modalities": ["TEXT"], "system_instruction": "Be brief."}}
    token = await mint(uses=1, live_connect_constraints=locked)
    messages = await talk(token, AUDIO)
    assert text(messages) and not any(message.data for message in messages), "the lock did not hold"


@check("a lock of some fields leaves the others to the app")
async def _():
    locked = {"model": LIVE_MODEL, "config": {"temperature": 0.5}}
    for further in ([], ["top_k", "temperature"]):
        token = await mint(uses=1, live_connect_constraints=locked, lock_additional_fields=further)
        assert any(message.data for message in await talk(token, AUDIO)), f"no audio with {further}"


@check("the backend of the forum post mints what its app can use")
async def _():
    config = {
        "uses": 10,
        "live_connect_constraints": {
            "model": "models/gemini-2.0-flash-exp",
            "config": {"generation_config": {"response_modalities": ["AUDIO"]}},
        },
        "http_options": {"api_version": "v1alpha"},
    }
    backend = client(version="v1alpha")
    token = backend.auth_tokens.create(config=config)
    assert any(message.data for message in await talk(note(token.name), AUDIO, version="v1alpha")), "no audio"


@check("music plays with a token")
async def _():
    app = client(await mint(uses=1))
    async with app.aio.live.music.connect(model=MUSIC_MODEL) as session:
        await session.set_weighted_prompts(prompts=[types.WeightedPrompt(text="techno", weight=1.0)])
        await session.play()
        async for message in session.receive():
            if message.server_content and message.server_content.audio_chunks:
                return
    raise AssertionError("no music")


@check("a session is resumed with a token of one use")
async def _():
    token = await mint(uses=1)
    config = types.LiveConnectConfig(response_modalities=["TEXT"], session_resumption=types.SessionResumptionConfig())
    handle = None
    async with client(token).aio.live.connect(model=LIVE_MODEL, config=config) as session:
        await said(session, "my name is Ada")
        async for message in session.receive():
            if message.session_resumption_update:
                handle = message.session_resumption_update.new_handle
                break
    assert handle, "no handle was given"
    config.session_resumption = types.SessionResumptionConfig(handle=handle)
    assert text(await talk(token, config)), "it was not resumed"


@check("a handle of another token is refused")
async def _():
    config = types.LiveConnectConfig(response_modalities=["TEXT"])
    config.session_resumption = types.SessionResumptionConfig(handle="a-handle-of-somebody-else")
    error = await refusal(CLOSED, talk(await mint(), config))
    assert "1008" in str(error) and "forbidden" in str(error), f"`{error}`"


@check("a token mints no token")
async def _():
    # The SDK itself keeps a token in Google's spelling away from such calls.
    bare = (await mint()).removeprefix("auth_tokens/")
    error = await refusal(errors.ClientError, client(bare).aio.auth_tokens.create(config={}))
    assert error.code == 403, f"`{error}`"


@check("a key in a token's spelling is told apart")
async def _():
    error = await refusal(CLOSED, talk("auth_tokens/km_TestVector0TestVector0TestVector0TestVector02cu8n"))
    assert "credential_invalid" in str(error), f"`{error}`"
