"""A chat in the terminal, which survives the server's restarts: python chat.py 8888 6666 [ws://localhost:8080]"""

import asyncio, contextlib, json, sys, uuid

import websockets

user, peer, server = (*sys.argv[1:], "ws://localhost:8080")[:3]
waiting = {}  # what has no ack yet: sent again after a break; the id keeps it from being doubled
sockets = []  # the newest connection, once it may be written to


async def speak():
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = str(uuid.uuid4())
        waiting[id] = json.dumps({"message": line.strip(), "target_user": peer, "id": id, "ref": id})
        websockets.broadcast(sockets, waiting[id])  # only if it is open; else it goes out with the next one


async def listen():
    async for socket in websockets.connect(f"{server}/ws/{user}"):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "synced":  # what we had missed is here: now send what has no ack
                    sockets[:] = [socket]
                    for unanswered in waiting.values():
                        websockets.broadcast(sockets, unanswered)
                elif frame["type"] == "message":
                    print(f"{frame['from_user']}: {frame['message']}", flush=True)
                elif frame["type"] == "ack":
                    waiting.pop(frame["id"], None)
                elif frame["type"] == "error" and not frame["retryable"]:
                    print(f"refused: {frame['detail']} {waiting.pop(frame.get('ref'), '')}", flush=True)


async def main():
    await asyncio.gather(speak(), listen())


asyncio.run(main())
