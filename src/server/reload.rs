//! What the server reads again while it runs: on SIGHUP, and certificates also when they change.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::context::Context;
use crate::ops::openapi;
use crate::page::Page;

use super::Parts;

/// Reads keys and certificates again when they change, and on SIGHUP, until the handles are dropped. SIGHUP also accepts the
/// clock of the machine as it is.
pub fn when_changed(parts: &Parts) -> io::Result<Vec<AbortOnDropHandle<()>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (context, tls) = (parts.context.clone(), parts.tls.clone());
    let (ops, webhooks) = (parts.ops.clone(), parts.webhooks.clone());
    let watching = tls.clone().map(|tls| actix_rt::spawn(tls.watch()));
    let on_hangup = actix_rt::spawn(async move {
        while hangup.recv().await.is_some() {
            announce(&context.config, ops.keys.has_file(), webhooks.is_on());
            context.router.clock().accept();
            context.auth.refresh();
            ops.keys.reload();
            webhooks.reload();
            if let Some(tls) = &tls {
                tls.reload();
            }
            content_types(&context).await;
            page_renderers(&context).await;
        }
    });
    let tasks = watching.into_iter().chain([on_hangup]);
    Ok(tasks.map(AbortOnDropHandle::new).collect())
}

/// Logs what SIGHUP reloads: what is configured of it.
fn announce(config: &Config, has_api_keys: bool, has_webhooks: bool) {
    let auth = &config.auth;
    let has_key_files = !auth.jwt_secret_file.is_empty() || !auth.jwt_key.is_empty();
    let parts = [
        ("keys for tokens", has_key_files || auth.jwks.is_some()),
        ("keys of the HTTP API", has_api_keys),
        ("secrets of webhooks", has_webhooks),
        ("TLS certificate", config.tls.is_enabled()),
        ("content types", config.content.content_types.is_some()),
        ("page renderers", config.content.page_renderers.is_some()),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter_map(|(part, is_configured)| is_configured.then_some(*part))
        .collect();
    if parts.is_empty() {
        log::info!(
            "SIGHUP: nothing to reload (no files with keys, certificates, content types or page renderers are configured); a change of settings needs a restart"
        );
    } else {
        log::info!(
            "SIGHUP: reloading: {}; a change of other settings needs a restart",
            parts.join(", ")
        );
    }
}

/// Reads the content types again. An invalid one leaves those in use that were loaded last.
async fn content_types(context: &Arc<Context>) {
    let Some(folder) = context.config.content.content_types.clone() else {
        return;
    };
    // The compilation would delay the sessions of a worker.
    let loading = actix_rt::task::spawn_blocking(move || {
        crate::content_types::load(&folder)
            .map(|contract| contract.with_document(openapi::describe))
    });
    match loading.await {
        Ok(Ok(contract)) => {
            let types = contract.custom_types().names().count();
            let hash = contract.hash().to_owned();
            context.contract.replace(contract);
            log::info!(types = types, schema = hash; "content types loaded");
            if types == 0 {
                log::warn!(
                    "there are no content types any more: a server does not start with an empty folder"
                );
            }
        }
        Ok(Err(error)) => log::error!("the content types stay as they were: {error}"),
        Err(error) => log::error!("the content types stay as they were: {error}"),
    }
}

/// Reads the renderers of the page again. An invalid one leaves those in use that were loaded last.
async fn page_renderers(context: &Arc<Context>) {
    let Some(folder) = context.config.content.page_renderers.clone() else {
        return;
    };
    match actix_rt::task::spawn_blocking(move || Page::load(&folder)).await {
        Ok(Ok(page)) => {
            let etag = page.etag.clone();
            context.page.replace(page);
            log::info!(page = etag; "page renderers loaded");
        }
        Ok(Err(error)) => log::error!("the page renderers stay as they were: {error}"),
        Err(error) => log::error!("the page renderers stay as they were: {error}"),
    }
}
