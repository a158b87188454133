//! JSON as Python writes it, made into JSON that every reader takes.

use super::super::raw::Malformed;
use super::{Json, MAX_DEPTH, Next, NotJson, Number};

/// Rewrites what a strict reader refuses, and leaves everything else as it is: a number that is none, or that no float
/// holds, becomes null, and so does a list or an object that is nested more deeply than anything of Celery's; a lone
/// surrogate becomes U+FFFD. So one odd value, wherever it came from, does not take with it what is beside it.
///
/// # Errors
/// It is no JSON of Python's either, or cut off.
pub fn plain_json(text: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Body)?;
    let mut out = String::with_capacity(text.len());
    let mut json = Json::new(text);
    let read = json.rewrite(&mut out).and_then(|()| json.end());
    read.map(|()| out).map_err(|NotJson| Malformed::Body)
}

impl Json<'_> {
    fn rewrite(&mut self, out: &mut String) -> Result<(), NotJson> {
        match self.next()? {
            Next::List | Next::Object if self.depth == MAX_DEPTH => {
                out.push_str("null");
                self.skip_deep()
            }
            Next::List => {
                out.push('[');
                let mut separator = "";
                self.list(|json| {
                    out.push_str(std::mem::replace(&mut separator, ","));
                    json.rewrite(out)
                })?;
                out.push(']');
                Ok(())
            }
            Next::Object => self.rewrite_object(out),
            Next::Text => self.rewrite_string(out),
            Next::Number => {
                let start = self.at;
                let is_finite = match self.number()? {
                    Number::Whole(_) => true,
                    Number::Float(float) => float.is_finite(),
                };
                let number = self.text.get(start..self.at).filter(|_| is_finite);
                out.push_str(number.unwrap_or("null"));
                Ok(())
            }
            Next::Null | Next::Bool => {
                let start = self.at;
                self.skip()?;
                out.push_str(self.text.get(start..self.at).ok_or(NotJson)?);
                Ok(())
            }
        }
    }

    fn rewrite_object(&mut self, out: &mut String) -> Result<(), NotJson> {
        self.enter(b'{')?;
        out.push('{');
        if self.peek() != Some(b'}') {
            loop {
                self.peek();
                self.rewrite_string(out)?;
                self.expect(b':')?;
                out.push(':');
                self.rewrite(out)?;
                if self.last(b'}')? {
                    break;
                }
                out.push(',');
            }
        }
        out.push('}');
        self.leave()
    }

    /// Strings without an escape are copied. Escapes are read, and written anew: one that is none of JSON's (`\[`) is
    /// refused as a strict reader does, and a surrogate alone is no longer one.
    fn rewrite_string(&mut self, out: &mut String) -> Result<(), NotJson> {
        let start = self.at;
        let (from, to, escaped) = self.string_span()?;
        let inside = self.text.get(from..to).ok_or(NotJson)?;
        if escaped {
            self.at = start;
            let meant = self.string()?;
            out.push_str(&serde_json::to_string(&*meant).map_err(|_| NotJson)?);
        } else {
            out.push('"');
            out.push_str(inside);
            out.push('"');
        }
        Ok(())
    }

    /// Steps over a list or an object however deep it is: only its brackets and strings are looked at.
    fn skip_deep(&mut self) -> Result<(), NotJson> {
        let mut open = 0_usize;
        loop {
            match self.peek().ok_or(NotJson)? {
                b'"' => {
                    self.string_span()?;
                    continue;
                }
                b'[' | b'{' => open += 1,
                b']' | b'}' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_strict_reader_refuses_is_replaced_alone() {
        let huge = "9".repeat(400);
        let deep = format!("{}\"]\"{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(
            r#"{{"nan": [NaN, -Infinity, 0.5], "huge": {huge}, "deep": {deep}, "\ud800@h": "\uDC00\n\u00e9\ud83d\ude00", "ok": [true, null, {{}}]}}"#
        );
        let plain = plain_json(body.as_bytes()).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&plain).unwrap();
        let mut deep = value["deep"].take();
        for _ in 0..MAX_DEPTH - 1 {
            deep = deep[0].take();
        }
        assert!(deep.is_null(), "{deep}");
        let expected = serde_json::json!({
            "nan": [null, null, 0.5], "huge": null, "deep": null, "\u{fffd}@h": "\u{fffd}\né😀", "ok": [true, null, {}]
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_is_none_is_refused() {
        for body in [
            "",
            "[",
            "[1,]",
            "{\"a\":}",
            "[1] 2",
            "\"\\ud8\"",
            r#""\[""#,
            "nul",
            "<html>",
        ] {
            assert_eq!(plain_json(body.as_bytes()), Err(Malformed::Body), "{body}");
        }
        let open = "[".repeat(100_000);
        assert_eq!(plain_json(open.as_bytes()), Err(Malformed::Body));
    }

    proptest! {
        #[test]
        fn what_comes_out_a_strict_reader_takes(body in r#"[\[\]{}",:0-9eNInfity\\ud. -]{0,40}"#) {
            if let Ok(plain) = plain_json(body.as_bytes()) {
                serde_json::from_str::<serde_json::Value>(&plain)
                    .map_err(|error| TestCaseError::fail(format!("{body} became {plain}: {error}")))?;
            }
        }
    }
}
