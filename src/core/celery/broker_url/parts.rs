//! A URL's parts, split where Python's `urllib.parse` splits.

use percent_encoding::percent_decode_str;

use super::UrlError;

/// The parts after the scheme, decoded, and none where kombu has none: an empty part counts as absent.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// Without the one slash that ends the host: `//` is the path `/`.
    pub(super) path: Option<String>,
    /// Still encoded.
    pub(super) query: String,
}

impl Parts {
    /// Splits what follows `scheme://`.
    pub(super) fn read(rest: &str) -> Result<Self, UrlError> {
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') || query.contains('@') {
            return Err(UrlError::At);
        }
        let (login, place) = place.rsplit_once('@').unwrap_or(("", place));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            user: decoded(user),
            password: decoded(password),
            host: decoded(&lower(host)),
            port,
            path: decoded(path),
            query: query.to_owned(),
        })
    }
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or(UrlError::Host)?;
        (
            host,
            if after.is_empty() {
                ""
            } else {
                after.strip_prefix(':').ok_or(UrlError::Host)?
            },
        )
    } else {
        place.split_once(':').unwrap_or((place, ""))
    };
    if host.contains(['[', ']']) {
        return Err(UrlError::Host);
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    // Port 0 is no port: kombu takes its default then.
    let port: u16 = port.parse().map_err(|_| UrlError::Port)?;
    Ok((host, (port != 0).then_some(port)))
}

/// As Python lowers a host: not behind a `%`, where an IPv6 zone (or something percent-encoded) begins.
fn lower(host: &str) -> String {
    match host.split_once('%') {
        Some((host, zone)) => format!("{}%{zone}", host.to_lowercase()),
        None => host.to_lowercase(),
    }
}

/// Percent-decoded; bytes that are no UTF-8 become U+FFFD, as in Python.
pub(super) fn decoded(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| percent_decode_str(text).decode_utf8_lossy().into_owned())
}
