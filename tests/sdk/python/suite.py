"""What the checks share: where things are, a client as an application makes it, and a runner that prints each outcome.

Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. Where things are comes from the environment:
SUITE_TLS (the default route), SUITE_WATCHED_TLS (a route with `query = "warn"`), SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY,
SUITE_TOKENS_FILE (where minted tokens are noted, to be searched for afterwards).
"""

import asyncio
import os
import warnings
from pathlib import Path

from google import genai
from google.genai import errors, types
from websockets.exceptions import ConnectionClosedError

LIVE_MODEL = "gemini-2.5-flash-native-audio"
MUSIC_MODEL = "models/lyria-realtime-exp"
REST_MODEL = "gemini-2.5-flash"
# Well-formed, but no gateway ever issued it.
WRONG_KEY = os.environ["SUITE_WRONG_KEY"]
LIMIT_SECS = 20

# A close before `setupComplete`: the second if it comes before the SDK has sent `setup`, and always in 1.x and in Music.
CLOSED = (errors.APIError, ConnectionClosedError)

CHECKS = []


def check(name):
    """Registers a function as the check `name`."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


def client(key=None, *, base="SUITE_TLS", version=None):
    """A client as an application makes it."""
    key = key or Path(os.environ["SUITE_KEY_FILE"]).read_text().strip()
    options = types.HttpOptions(base_url=os.environ[base], api_version=version)
    return genai.Client(api_key=key, http_options=options)


def note(token):
    """Notes a minted token, so that everything can be searched for it when all is over."""
    with open(os.environ["SUITE_TOKENS_FILE"], "a", encoding="ascii") as file:
        file.write(token + "\n")
    return token


async def turn(session):
    """All messages of the model's turn."""
    return [message async for message in session.receive()]


async def said(session, text):
    """The messages that the model answers `text` with."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    await session.send_client_content(turns=content, turn_complete=True)
    return await turn(session)


async def refusal(kinds, attempt):
    """The error that `attempt` ends with, which has to be of one of these `kinds`."""
    try:
        await attempt
    except kinds as error:
        return error
    raise AssertionError("it was not refused")


async def run():
    """Runs every check, and says how many failed."""
    warnings.simplefilter("ignore")  # "experimental" notices
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
