"""A terminal chat that survives restarts of the server: python chat.py 8888 6666 [ws://localhost:8080]"""

import asyncio, contextlib, json, sys, uuid

import websockets

if len(sys.argv) < 3:
    sys.exit(__doc__)
user, peer, server = (*sys.argv[1:], "ws://localhost:8080")[:3]
pending, sockets = {}, []  # messages without an ack (the id prevents duplicates); the current connection, once synced


async def send():
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = str(uuid.uuid4())
        pending[id] = json.dumps({"message": line.strip(), "target_user": peer, "id": id, "ref": id})
        websockets.broadcast(sockets, pending[id])  # skips a closed connection; then the next one sends it


def resend(id):
    if id in pending:
        websockets.broadcast(sockets, pending[id])


async def receive():
    async for socket in websockets.connect(f"{server}/ws/{user}"):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for frame in (json.loads(text) async for text in socket):
                if frame["type"] == "synced":  # the replay is complete: send the messages without an ack
                    sockets[:] = [socket]
                    for message in pending.values():
                        websockets.broadcast(sockets, message)
                elif frame["type"] == "message":
                    print(f"{frame['from_user']}: {frame['message']}", flush=True)
                elif frame["type"] == "ack":
                    pending.pop(frame["id"], None)
                elif frame["type"] == "error" and frame["retryable"]:  # the server is busy: retry later
                    # It may take hours (a limit per day), so receiving goes on.
                    asyncio.get_running_loop().call_later(frame.get("retry_after_ms", 1000) / 1000, resend, frame.get("ref"))
                elif frame["type"] == "error":
                    print(f"rejected: {frame['detail']} {pending.pop(frame.get('ref'), '')}", flush=True)


async def main():
    await asyncio.gather(send(), receive())


asyncio.run(main())
