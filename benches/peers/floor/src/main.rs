//! A plain relay on tokio-websockets: `floor-peer PORT`. Forwards a text with a `target_user` unchanged to all sockets of
//! that user. It validates, stores and acknowledges nothing, and buffers without limit for a client that does not read.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_websockets::{Error, Message, ServerBuilder, WebSocketStream};

/// Maximum number of messages written together.
const BATCH: usize = 64;

/// The sender of a socket's queue, and the socket's number.
type Way = (u64, UnboundedSender<Message>);

/// The sockets of each user. The lock is held for one lookup, insertion or removal, never across an await.
#[derive(Default)]
struct Relay(RwLock<HashMap<String, Vec<Way>>>);

impl Relay {
    fn add(&self, user: &str, id: u64) -> UnboundedReceiver<Message> {
        let (sender, messages) = unbounded_channel();
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        users.entry(user.to_owned()).or_default().push((id, sender));
        messages
    }

    fn remove(&self, user: &str, id: u64) {
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(sockets) = users.get_mut(user) {
            sockets.retain(|(of, _)| *of != id);
            if sockets.is_empty() {
                users.remove(user);
            }
        }
    }

    fn pass_on(&self, message: &Message) {
        let Some(user) = message.as_text().and_then(target) else {
            return;
        };
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (_, socket) in users.get(user).into_iter().flatten() {
            // The send fails if the socket has just closed.
            let _ = socket.send(message.clone());
        }
    }
}

/// Returns the target user of a text.
fn target(text: &str) -> Option<&str> {
    const KEY: &str = r#""target_user":""#;
    let rest = &text[text.rfind(KEY)? + KEY.len()..];
    rest.split('"').next()
}

async fn connect(relay: Arc<Relay>, stream: TcpStream, id: u64) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let (request, socket) = ServerBuilder::new().accept(stream).await?;
    let path = request.uri().path();
    let user = path.strip_prefix("/ws/").unwrap_or(path);
    let messages = relay.add(user, id);
    let ended = serve(&relay, socket, messages).await;
    relay.remove(user, id);
    ended
}

async fn serve(
    relay: &Relay,
    mut socket: WebSocketStream<TcpStream>,
    mut messages: UnboundedReceiver<Message>,
) -> Result<(), Error> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            read = socket.next() => match read {
                Some(message) => relay.pass_on(&message?),
                None => return Ok(()),
            },
            _ = messages.recv_many(&mut batch, BATCH) => {
                for message in batch.drain(..) {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: floor-peer PORT"))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let relay = Arc::new(Relay::default());
    for id in 0.. {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connect(relay.clone(), stream, id));
    }
    Ok(())
}
