//! Which serialisation a content type names.

use super::raw::Malformed;

/// A serialisation that Headcount reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Msgpack,
    Yaml,
}

impl Format {
    /// By kombu's names. It knows no parameters (`; charset=…`) and no default either.
    pub(crate) fn of(content_type: &str) -> Result<Self, Malformed> {
        match content_type {
            "application/json" => Ok(Format::Json),
            "application/x-msgpack" => Ok(Format::Msgpack),
            "application/x-yaml" => Ok(Format::Yaml),
            "application/x-python-serialize" => Err(Malformed::Pickle),
            _ => Err(Malformed::ContentType),
        }
    }
}
