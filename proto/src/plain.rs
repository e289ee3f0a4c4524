//! Plain HTTP to what is near: a process of this machine, a service of its cloud.

use std::time::Duration;

use reqwest::{Client, redirect};

/// A client that waits `patience` for each answer.
///
/// # Errors
/// It cannot be made.
pub fn client(patience: Duration) -> Result<Client, reqwest::Error> {
    // An error says that the program has already chosen a provider, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(patience)
        // What is near is not behind one, whatever the environment says of the rest of the world.
        .no_proxy()
        .redirect(redirect::Policy::none())
        // Nothing is encrypted here, and a small image has no authorities: without this it gets no client.
        .tls_certs_only([])
        .build()
}
