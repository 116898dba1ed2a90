import asyncio
import os

from openai import AsyncOpenAI

# The SDK wants TLS for Realtime: the gateway is in the provider's place.
os.environ["OPENAI_BASE_URL"] = "https://gateway.example/v1"
key = open("key.txt", encoding="ascii").read().strip()
model = "gpt-realtime"


async def main():
    # SNIPPET
    async with client.realtime.connect(model=model) as connection:
        assert (await asyncio.wait_for(connection.recv(), 20)).type == "session.created"


asyncio.run(main())
