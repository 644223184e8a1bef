//! A bare relay on tokio-websockets: `floor-peer PORT`. A text that names a `target_user` goes to that user's sockets as it
//! came. Nothing is checked, stored or acknowledged, and who does not read is given memory without end.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_websockets::{Error, Message, ServerBuilder, WebSocketStream};

/// Messages that are written together at most.
const BATCH: usize = 64;

/// What leads to a socket, and its number.
type Way = (u64, UnboundedSender<Message>);

/// The sockets of each user. Held only to look up, to add and to remove, never across an await.
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
            // A socket that has just closed misses it.
            let _ = socket.send(message.clone());
        }
    }
}

/// The user that a text is for.
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
