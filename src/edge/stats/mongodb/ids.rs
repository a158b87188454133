//! `_id`s, as they are remembered: whatever is in them, they take a few bytes.

use mongodb::bson::raw::{RawDocument, RawDocumentBuf};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, doc};
use sha2::{Digest, Sha256};

/// An `_id` that takes more bytes is remembered by its hash. Five thousand of this size are one document of the tail's.
const MAX_ID: usize = 256;
/// The subtype of such a hash: one that MongoDB leaves to whoever uses it.
const HASHED: BinarySubtype = BinarySubtype::UserDefined(0x80);

pub(super) fn id_of(document: &RawDocument) -> Bson {
    let id = document.get("_id").ok().flatten();
    id.and_then(|id| Bson::try_from(id).ok()).unwrap_or(Bson::Null)
}

/// An id as bytes: equal if the ids are.
pub(super) fn bytes_of(id: &Bson) -> Vec<u8> {
    let document = RawDocumentBuf::try_from(&doc! { "i": id.clone() });
    document.map(RawDocumentBuf::into_bytes).unwrap_or_default()
}

/// An id, or where that is long, what stands for it.
pub(super) fn short(id: &Bson) -> Bson {
    let bytes = bytes_of(id);
    if bytes.len() <= MAX_ID {
        return id.clone();
    }
    Bson::Binary(Binary {
        subtype: HASHED,
        bytes: Sha256::digest(&bytes).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_id_is_hashed() {
        let long = |last| Bson::from(format!("{}{last}", "x".repeat(1 << 20)));
        assert_eq!(short(&7.into()), 7.into());
        assert!(bytes_of(&short(&long('a'))).len() < MAX_ID);
        assert_eq!(short(&long('a')), short(&long('a')));
        assert_ne!(short(&long('a')), short(&long('b')));
    }
}
