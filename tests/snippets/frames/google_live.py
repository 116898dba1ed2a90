import asyncio
import os

from google import genai

# The SDK wants TLS for Live: the gateway is in the provider's place.
os.environ["GOOGLE_GEMINI_BASE_URL"] = "https://gateway.example"
key = open("key.txt", encoding="ascii").read().strip()
model = "gemini-2.5-flash-native-audio"
backend = genai.Client(api_key=key, http_options={"api_version": "v1alpha"})
token = backend.auth_tokens.create(config={"uses": 1}).name


async def main():
    # SNIPPET
    assert session.session_id is not None or session


asyncio.run(main())
