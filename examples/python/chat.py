"""A chat in the terminal, which survives the server's restarts: python chat.py 8888 6666 [ws://localhost:8080]"""

import asyncio
import json
import sys
import uuid

import websockets

user, peer, *server = sys.argv[1:]
waiting = {}  # what was sent and has no ack yet: sent again after a break; the id keeps it from being doubled


async def say(connection):
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = str(uuid.uuid4())
        waiting[id] = {"message": line.strip(), "target_user": peer, "id": id, "ref": id}
        try:
            await connection[-1].send(json.dumps(waiting[id]))
        except (IndexError, websockets.ConnectionClosed):
            pass  # it goes out with the next connection


async def main():
    connection = []
    speaker = asyncio.create_task(say(connection))  # kept: a task that nobody holds may vanish
    async for socket in websockets.connect(f"{(server or ['ws://localhost:8080'])[0]}/ws/{user}"):
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "synced":  # what we had missed is here: now send what has no ack
                    connection[:] = [socket]
                    for unanswered in list(waiting.values()):
                        await socket.send(json.dumps(unanswered))
                elif frame["type"] == "message":
                    print(f"{frame['from_user']}: {frame['message']}", flush=True)
                elif frame["type"] == "ack":
                    waiting.pop(frame["id"], None)
                elif frame["type"] == "error" and not frame["retryable"]:
                    print(f"refused: {frame['detail']} {waiting.pop(frame.get('ref'), '')}", flush=True)
        except websockets.ConnectionClosed:
            connection.clear()
    await speaker


asyncio.run(main())
