//! A plain relay on actix-ws: `actix-peer PORT`. Forwards a text with a `target_user` unchanged to all sockets of that user.
//! It validates, stores and acknowledges nothing.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Result, web};
use actix_ws::{Message, MessageStream, Session};

/// The sockets of each user. The lock is held for one lookup, insertion or removal, never across an await.
#[derive(Default)]
struct Relay(RwLock<HashMap<String, Vec<(u64, Session)>>>);

impl Relay {
    fn add(&self, user: &str, id: u64, session: Session) {
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        users
            .entry(user.to_owned())
            .or_default()
            .push((id, session));
    }

    fn remove(&self, user: &str, id: u64) {
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = users.get_mut(user) {
            sessions.retain(|(of, _)| *of != id);
            if sessions.is_empty() {
                users.remove(user);
            }
        }
    }

    fn of(&self, user: &str) -> Vec<Session> {
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let sessions = users.get(user).map(Vec::as_slice).unwrap_or_default();
        sessions
            .iter()
            .map(|(_, session)| session.clone())
            .collect()
    }
}

/// Returns the target user of a text.
fn target(text: &str) -> Option<&str> {
    const KEY: &str = r#""target_user":""#;
    let rest = &text[text.rfind(KEY)? + KEY.len()..];
    rest.split('"').next()
}

async fn connect(
    request: HttpRequest,
    body: web::Payload,
    user: web::Path<String>,
    relay: web::Data<Relay>,
) -> Result<HttpResponse> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    relay.add(&user, id, session.clone());
    actix_web::rt::spawn(async move {
        serve(&relay, session, messages).await;
        relay.remove(&user, id);
    });
    Ok(response)
}

async fn serve(relay: &Relay, mut session: Session, mut messages: MessageStream) {
    while let Some(Ok(message)) = messages.recv().await {
        match message {
            Message::Text(text) => {
                let Some(user) = target(&text) else { continue };
                for mut other in relay.of(user) {
                    // The send fails if the socket has just closed.
                    let _ = other.text(text.clone()).await;
                }
            }
            Message::Ping(payload) if session.pong(&payload).await.is_err() => return,
            Message::Close(reason) => {
                let _ = session.close(reason).await;
                return;
            }
            _ => {}
        }
    }
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: actix-peer PORT"))?;
    let relay = web::Data::new(Relay::default());
    HttpServer::new(move || {
        App::new()
            .app_data(relay.clone())
            .route("/ws/{user}", web::get().to(connect))
    })
    .tcp_nodelay(true)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
