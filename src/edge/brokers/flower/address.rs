//! Where a Flower is, and how to get in.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

/// An address that has been understood.
#[derive(Clone, Debug)]
pub(in crate::brokers) struct Address {
    /// Without user and password; its path ends with a slash.
    pub(super) base: Url,
    pub(super) login: Option<Login>,
    /// For people.
    pub(in crate::brokers) shown: String,
}

/// A user and a password, as Flower's `--basic-auth` has them.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: SecretString,
}

impl Address {
    /// Reads the URL of a `[[broker]]` with `kind = "flower"`. The error never quotes it: a misplaced character can make
    /// any part of it a password.
    pub(in crate::brokers) fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "expected Flower's address, such as http://host:5555 or https://user:password@host/flower; in a user \
                     name or password, write / ? # @ as %2F %3F %23 %40";
        let mut base = Url::parse(text).map_err(|_| wrong)?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err("the address of a Flower begins with http:// or https://");
        }
        // A password with a slash in it would end up in the path, where it would be shown.
        if base.path().contains('@') || base.query().is_some() || base.fragment().is_some() || !base.has_host() {
            return Err(wrong);
        }
        let login = login(&base)?;
        // Neither can fail where there is a host.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let shown = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, login, shown })
    }
}

fn login(url: &Url) -> Result<Option<Login>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text| {
        percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| "user name and password must be UTF-8")
    };
    Ok(Some(Login {
        user: decode(url.username())?.into_owned(),
        password: decode(url.password().unwrap_or_default())?.into_owned().into(),
    }))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        for (url, base, login, shown) in [
            ("http://h:5555", "http://h:5555/", None, "http://h:5555"),
            (
                "https://me:hunt%2Fer2%40@h/flower",
                "https://h/flower/",
                Some(("me", "hunt/er2@")),
                "https://h/flower",
            ),
            (
                "http://me@[::1]:5555/",
                "http://[::1]:5555/",
                Some(("me", "")),
                "http://[::1]:5555",
            ),
        ] {
            let address = Address::parse(url).unwrap();
            let read = address
                .login
                .as_ref()
                .map(|login| (login.user.as_str(), login.password.expose_secret()));
            assert_eq!(
                (address.base.as_str(), read, address.shown.as_str()),
                (base, login, shown)
            );
            assert!(!format!("{address:?}").contains("er2@"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for url in [
            "",
            "h:5555",
            "redis://h",
            "ftp://h/",
            "http://",
            "http://me:sec/ret@h:5555/",
            "http://me:1/secret@h:5555/",
            "http://h:5555/?token=secret",
            "http://h:5555/#secret",
            "http://h:70000/",
            "http://%ff:secret@",
            "http://%ff:%fe@h/",
        ] {
            let why = Address::parse(url).expect_err(url);
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
