//! Idle connections, optionally after one message each.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_local;

use crate::options::Options;
use crate::pairs::name;
use crate::report::Report;
use crate::socket::Socket;
use crate::target::Target;

/// Connections opened before the measurement starts, to warm up the server.
const WARM_UP: usize = 50;

/// Opens connections and reports the cost of each.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let mut open = Vec::new();
    for n in 0..WARM_UP {
        open.push(Socket::open(target, &name("w", n)).await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (memory, usage) = (target.memory(), target.usage());
    let mut idle = Vec::new();
    for n in 0..options.idle {
        idle.push(Socket::open(target, &name("i", n)).await?);
        if n % 1000 == 999 {
            eprintln!("{} connections", n + 1);
        }
    }
    let (_, cost) = target.usage().since(usage);
    target.settle().await;
    if options.warm > 0 {
        warm(&mut idle, options).await?;
    }
    open.append(&mut idle);
    // Keep answering pings, as a client does.
    let mut tasks = Vec::new();
    for socket in open {
        tasks.push(spawn_local(socket.rest()));
    }
    tokio::time::sleep(Duration::from_secs_f64(options.quiet)).await;
    let after = target.memory();
    for task in tasks {
        if task.is_finished() {
            return Err(io::Error::other("a connection ended early"));
        }
    }
    let each = (after as f64 - memory as f64) / options.idle as f64;
    let connect = cost.server * 1e6 / options.idle as f64;
    report.line("connections", options.idle.to_string());
    report.line(
        "memory",
        format!("{each:.2} KiB each (server {memory} KiB before, {after} KiB after)"),
    );
    report.line("server CPU", format!("{connect:.1} us to connect"));
    report.value("connections", json!(options.idle));
    report.value("kib_each", json!(each));
    report.value("connect_cpu_us", json!(connect));
    Ok(())
}

/// Each connection sends a message to the next one, so that each has sent and received one.
async fn warm(idle: &mut [Socket], options: &Options) -> io::Result<()> {
    let text = "w".repeat(options.warm);
    let ephemeral = if options.ephemeral {
        r#","ephemeral":true"#
    } else {
        ""
    };
    for n in 0..idle.len() {
        let next = (n + 1) % idle.len();
        let user = name("i", next);
        // The limit for plain text is lower than this.
        idle[n].queue(&format!(
            r#"{{"message":{{"type":"data","name":"warm","data":"{text}"}},"target_user":"{user}"{ephemeral}}}"#
        ));
        idle[n].flush().await?;
        idle[next].text(|text| text.len() > options.warm).await?;
        if n % 1000 == 999 {
            eprintln!("{} messages", n + 1);
        }
    }
    Ok(())
}
