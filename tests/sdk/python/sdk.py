"""Drives one unmodified release of google-genai through the gateway; only the base URL and SSL_CERT_FILE differ from direct use."""

import asyncio
import math
import struct
import sys

from google.genai import errors, types

import tokens  # noqa: F401 - registers its checks
from checks import WRONG_KEY, check, run
from suite import CLOSED, LIVE_MODEL, MUSIC_MODEL, REST_MODEL, client, refusal, turn


def tone():
    """A tenth of a second of 440 Hz, 16-bit little-endian at 16 kHz."""
    return b"".join(struct.pack("<h", int(8000 * math.sin(2 * math.pi * 440 * n / 16000))) for n in range(1600))


async def music(base):
    async with client(base=base).aio.live.music.connect(model=MUSIC_MODEL) as session:
        await session.set_weighted_prompts(prompts=[types.WeightedPrompt(text="techno", weight=1.0)])
        await session.set_music_generation_config(config=types.LiveMusicGenerationConfig(bpm=90, temperature=1.0))
        await session.play()
        async for message in session.receive():
            chunks = message.server_content.audio_chunks if message.server_content else None
            if chunks:
                assert chunks[0].data, "an empty audio chunk"
                return


@check("live text")
async def _():
    config = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
    async with client().aio.live.connect(model=LIVE_MODEL, config=config) as session:
        hello = types.Content(role="user", parts=[types.Part(text="hello")])
        for _ in range(2):
            await session.send_client_content(turns=hello, turn_complete=True)
            messages = await turn(session)
            text = "".join(message.text or "" for message in messages)
            assert "hello" in text, f"answered `{text}`"
            assert messages[-1].server_content.turn_complete, "the turn has no end"


@check("live audio")
async def _():
    config = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO])
    async with client().aio.live.connect(model=LIVE_MODEL, config=config) as session:
        for _ in range(5):
            await session.send_realtime_input(audio=types.Blob(data=tone(), mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(audio_stream_end=True)
        messages = await turn(session)
        heard = b"".join(message.data or b"" for message in messages)
        assert heard, f"no audio in {len(messages)} messages"


@check("live music")
async def _():
    await music("SUITE_TLS")


@check("live music where the query is watched")
async def _():
    await music("SUITE_WATCHED_TLS")


@check("generate_content")
async def _():
    ai = client()
    answer = ai.models.generate_content(model=REST_MODEL, contents="hello")
    assert "hello" in answer.text, f"answered `{answer.text}`"


@check("generate_content, async")
async def _():
    answer = await client().aio.models.generate_content(model=REST_MODEL, contents="hello")
    assert "hello" in answer.text, f"answered `{answer.text}`"


@check("generate_content_stream")
async def _():
    ai = client()
    chunks = [chunk.text for chunk in ai.models.generate_content_stream(model=REST_MODEL, contents="hello")]
    assert len(chunks) > 1 and "hello" in "".join(chunks), f"answered {chunks}"


@check("live says why a wrong key is refused")
async def _():
    error = await refusal(CLOSED, live_with_wrong_key())
    assert "1007" in str(error) and "credential_invalid" in str(error), f"`{error}`"


@check("music says why a wrong key is refused")
async def _():
    error = await refusal(CLOSED, music_with_wrong_key())
    # Releases that also put the key in the URL are told about that first.
    assert "1007" in str(error) and "credential_in" in str(error), f"`{error}`"


@check("generate_content says why a wrong key is refused")
async def _():
    error = await refusal(errors.ClientError, generate_with_wrong_key())
    assert error.code in (400, 401) and "credential_invalid" in str(error), f"`{error}`"


async def live_with_wrong_key():
    async with client(WRONG_KEY).aio.live.connect(model=LIVE_MODEL, config={"response_modalities": ["TEXT"]}) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="hello")]))
        await turn(session)


async def music_with_wrong_key():
    async with client(WRONG_KEY).aio.live.music.connect(model=MUSIC_MODEL) as session:
        await anext(session.receive())


async def generate_with_wrong_key():
    ai = client(WRONG_KEY)
    ai.models.generate_content(model=REST_MODEL, contents="hello")


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
