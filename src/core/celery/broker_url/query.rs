//! A URL's query options.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parts::decoded;
use super::{Tls, UrlError, Verify};

/// The longest timeout that an option may ask for: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Options that have not been taken yet. As in kombu, the last of two equal names counts, and an empty value is absent.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn read(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?))
        });
        Self(pairs.collect())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A span in seconds; 0 is none.
    pub(super) fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>, UrlError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.trim().parse::<f64>() {
            Ok(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => {
                Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds)))
            }
            _ => Err(UrlError::Value(name, "a number of seconds, at most a day")),
        }
    }

    /// How to encrypt: any option that begins with `ssl_` asks for it, whatever the scheme.
    pub(super) fn tls(&mut self, scheme: Option<Tls>) -> Result<Option<Tls>, UrlError> {
        let cert_reqs = self.take("ssl_cert_reqs");
        let check_hostname = self.take("ssl_check_hostname");
        let tls = Tls {
            verify: match cert_reqs.as_deref() {
                Some("none" | "CERT_NONE") => Verify::Nothing,
                // To a client, Python's `optional` means the same as `required`.
                None | Some("required" | "CERT_REQUIRED" | "optional" | "CERT_OPTIONAL") => {
                    match check_hostname.as_deref() {
                        Some(check) if check.eq_ignore_ascii_case("false") => Verify::Chain,
                        _ => Verify::ChainAndName,
                    }
                }
                Some(_) => return Err(UrlError::Value("ssl_cert_reqs", "required, optional or none")),
            },
            ca_certs: self.take("ssl_ca_certs"),
            certfile: self.take("ssl_certfile"),
            keyfile: self.take("ssl_keyfile"),
        };
        if tls.keyfile.is_some() && tls.certfile.is_none() {
            return Err(UrlError::Value("ssl_keyfile", "accompanied by ssl_certfile"));
        }
        let asked = cert_reqs.is_some() || check_hostname.is_some() || tls.ca_certs.is_some() || tls.certfile.is_some();
        Ok(if asked { Some(tls) } else { scheme })
    }

    /// Nothing may be left. Only the name is told: a value may be a secret.
    pub(super) fn end(self, known: &'static str) -> Result<(), UrlError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(UrlError::Option(name, known)),
        }
    }
}
