"""What the checks share: clients and sessions as an application makes them.

Where the gateway is comes from the environment: SUITE_TLS (the default route), SUITE_WATCHED_TLS (a route with `query = "warn"`).
"""

import os
import warnings

from google import genai
from google.genai import errors, types
from websockets.exceptions import ConnectionClosedError

from checks import own_key

LIVE_MODEL = "gemini-2.5-flash-native-audio"
MUSIC_MODEL = "models/lyria-realtime-exp"
REST_MODEL = "gemini-2.5-flash"
# A close before `setupComplete`: the second if it comes before the SDK has sent `setup`, and always in 1.x and in Music.
CLOSED = (errors.APIError, ConnectionClosedError)

warnings.simplefilter("ignore")  # "experimental" notices

def client(key=None, *, base="SUITE_TLS", version=None):
    """A client as an application makes it."""
    options = types.HttpOptions(base_url=os.environ[base], api_version=version)
    return genai.Client(api_key=key or own_key(), http_options=options)


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
