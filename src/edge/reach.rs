//! Whether somebody is there, without telling him anything: for `headcount check --connect`.

use reqwest::Method;
use url::Url;

use crate::notifiers::http::{client_with, explain};

/// A server as the log names it: its port too, where that is given.
pub(crate) fn host(of: &Url) -> String {
    let host = of.host_str().unwrap_or_default();
    match of.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Looks whether an HTTP server is there: by name, connection and certificate, as what is sent later will go. It is asked for
/// nothing but `HEAD /`, without anything of the address but scheme, host and port; any answer will do.
///
/// # Errors
/// Why it is not, without a secret. Both say where.
pub async fn http(to: &Url) -> Result<String, String> {
    let place = to.origin().ascii_serialization();
    let asked = async {
        let client = client_with(to, |client| client).map_err(|error| error.to_string())?;
        let root = to.join("/").map_err(|error| error.to_string())?;
        client.request(Method::HEAD, root).send().await.map_err(explain)
    };
    match asked.await {
        Ok(_) => Ok(format!("{place}: reached")),
        Err(why) => Err(format!("{place}: {why}")),
    }
}
