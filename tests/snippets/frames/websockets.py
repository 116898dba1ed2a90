import asyncio
from pathlib import Path

import websockets

key = Path("key.txt").read_text().strip()


async def main():
    connecting = (
        # SNIPPET
    )
    async with connecting as socket:
        assert await asyncio.wait_for(socket.recv(), 20)


asyncio.run(main())
