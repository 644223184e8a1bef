// A plain relay on Bun: `bun main.ts PORT`. Forwards a text with a `target_user` unchanged to all sockets of that user.
// It validates nothing else, and stores and acknowledges nothing.

import type { ServerWebSocket } from "bun";

type Socket = ServerWebSocket<{ user: string }>;

const users = new Map<string, Set<Socket>>();

Bun.serve<{ user: string }>({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const user = new URL(request.url).pathname.slice("/ws/".length);
    return server.upgrade(request, { data: { user } }) ? undefined : new Response("", { status: 426 });
  },
  websocket: {
    open(socket) {
      const sockets = users.get(socket.data.user) ?? new Set();
      users.set(socket.data.user, sockets.add(socket));
    },
    message(_socket, text) {
      const { target_user } = JSON.parse(text as string);
      for (const other of users.get(target_user) ?? []) other.send(text);
    },
    close(socket) {
      const sockets = users.get(socket.data.user);
      sockets?.delete(socket);
      if (sockets?.size === 0) users.delete(socket.data.user);
    },
  },
});
