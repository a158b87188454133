//! A trace: what one broker's workers sent and what Headcount's questions brought, in a compact file that is written as it
//! happens. `docs/trace.md` describes it byte by byte.
//!
//! | file | subject |
//! |---|---|
//! | `record.rs` | what a trace can hold |
//! | `encode.rs` | records into frames |
//! | `frame.rs` | a frame's envelope: length, checksum, compression |
//! | `read.rs` | a file back into records |
//! | `decode.rs`, `tables.rs`, `bytes.rs` | the bodies of records, and what they share |
//!
//! Task arguments, results and tracebacks cannot be in a trace: no record has a place for them.

mod bytes;
mod decode;
mod encode;
mod frame;
mod read;
mod record;
mod tables;
#[cfg(test)]
mod tests;

pub use encode::Encoder;
pub use frame::Frame;
pub use read::{Ending, Reader, TraceError};
pub use record::{Answer, Record, Source, Told};

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"HDCTRACE";
/// Changes when an older reader would misunderstand: it then refuses the file.
pub const MAJOR: u8 = 1;
/// Changes when there is more to read, which an older reader of the same major version leaves out.
pub const MINOR: u8 = 1;
/// The file's head: magic, major, minor, two bytes of zero.
pub const HEAD: [u8; 12] = {
    let m = MAGIC;
    [m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], MAJOR, MINOR, 0, 0]
};

/// The largest frame, unpacked, in bytes: what a reader must have room for, whatever a file claims.
pub const MAX_FRAME: usize = 4 << 20;
/// A frame is ended early when it has grown to this, in bytes, so that a busy second is several frames and a reader's
/// memory stays small.
const CUT_AT: usize = 1 << 20;
/// The longest text (a name, an error), in bytes; the decoder of events lets none through that is longer than 512.
const MAX_TEXT: usize = 1_024;
/// The most names, and the most profiles, that a file may refer to at a time. A writer whose tables are full begins them
/// anew with its next frame.
const MAX_TABLE: usize = 200_000;
/// The most bytes of all names together.
const MAX_TABLE_BYTES: usize = 16 << 20;
/// The most entries in one list of a record: workers asked at once, their queues.
const MAX_LIST: usize = 100_000;
/// The most that the names in one record may weigh ([`weight`]), in bytes: each is two bytes in the file, and a thousand in
/// memory where it is used.
const MAX_WEIGHT: usize = 32 << 20;
/// The most connections in one listing: two for each of more workers than one broker's table has rows. What has come and
/// gone between two listings fits into a frame.
const MAX_CONNECTIONS: usize = 250_000;

/// What a name comes to in memory, in bytes: its text, and itself.
const fn weight(name: &str) -> usize {
    name.len() + 32
}
