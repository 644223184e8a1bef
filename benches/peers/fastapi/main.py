"""The relay that dmwire started from: a dict of users, and JSON forwarded between them. It validates nothing else, and stores
and acknowledges nothing.

    uvicorn main:app --port PORT
"""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
connections: dict[str, list[WebSocket]] = {}


@app.websocket("/demo/ws/{user_id}")
async def relay(websocket: WebSocket, user_id: str) -> None:
    await websocket.accept()
    connections.setdefault(user_id, []).append(websocket)
    try:
        while True:
            data = await websocket.receive_json()
            frame = {"message": data["message"], "from_user": user_id}
            for other in list(connections.get(data["target_user"], ())):
                await other.send_json(frame)
    except WebSocketDisconnect:
        pass
    finally:
        connections[user_id].remove(websocket)
        if not connections[user_id]:
            del connections[user_id]
