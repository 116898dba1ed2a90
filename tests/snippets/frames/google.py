import asyncio

# SNIPPET

assert list(client.models.list()), "no models"


async def talk():
    async with client.aio.live.connect(model="gemini-2.5-flash-native-audio", config={"response_modalities": ["TEXT"]}) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="hello")]), turn_complete=True)
        assert "hello" in "".join([message.text or "" async for message in session.receive()])


asyncio.run(talk())
