"""A chat in the terminal, which survives the server's restarts: python chat.py 8888 6666 [ws://localhost:8080]"""

import asyncio, contextlib, json, sys, uuid

import websockets

user, peer, server = (*sys.argv[1:], "ws://localhost:8080")[:3]
waiting, sockets = {}, []  # what has no ack yet (its id keeps it from being doubled); the newest connection, once ready


async def speak():
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = str(uuid.uuid4())
        waiting[id] = json.dumps({"message": line.strip(), "target_user": peer, "id": id, "ref": id})
        websockets.broadcast(sockets, waiting[id])  # only if it is open; else it goes out with the next one


async def listen():
    async for socket in websockets.connect(f"{server}/ws/{user}"):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for frame in (json.loads(text) async for text in socket):
                if frame["type"] == "synced":  # what we had missed is here: now send what has no ack
                    sockets[:] = [socket]
                    for unanswered in waiting.values():
                        websockets.broadcast(sockets, unanswered)
                elif frame["type"] == "message":
                    print(f"{frame['from_user']}: {frame['message']}", flush=True)
                elif frame["type"] == "ack":
                    waiting.pop(frame["id"], None)
                elif frame["type"] == "error" and frame["retryable"]:  # the server is busy: again in a while
                    await asyncio.sleep(frame.get("retry_after_ms", 1000) / 1000)
                    websockets.broadcast(sockets, waiting.get(frame.get("ref"), '{"type": "ping"}'))
                elif frame["type"] == "error":
                    print(f"refused: {frame['detail']} {waiting.pop(frame.get('ref'), '')}", flush=True)


async def main():
    await asyncio.gather(speak(), listen())


asyncio.run(main())
