//! A frame: about a second of records, packed by itself, so that the loss of one costs no other.
//!
//! The envelope is 17 bytes: the length of what is packed, the length unpacked, a CRC-32 of what is packed, flags, and a
//! CRC-32 of these 13 bytes. So a wrong length is known for damage, before it is taken for a frame that broke off.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, Decompress, FlushDecompress, Status};

use super::MAX_FRAME;
use super::bytes::Bad;

/// Bytes of an envelope.
pub(super) const ENVELOPE: usize = 17;
/// Flag: the tables of names, profiles and connections begin anew.
const RESET: u8 = 1;
/// What deflate may add to bytes that it cannot make smaller, with a margin.
const MAX_PACKED: usize = MAX_FRAME + MAX_FRAME / 1_000 + 64;

/// A frame that is ready to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub(super) reset: bool,
    pub(super) plain: Vec<u8>,
}

impl Frame {
    /// The frame as it is written to the file: envelope, and what is packed.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = vec![0; ENVELOPE];
        let mut deflate = DeflateEncoder::new(&mut out, Compression::default());
        // A vector takes all that it is given.
        let packed = deflate.write_all(&self.plain).and_then(|()| deflate.try_finish());
        debug_assert!(packed.is_ok());
        drop(deflate);
        let flags = if self.reset { RESET } else { 0 };
        let length = (out.len() - ENVELOPE) as u32;
        let crc = checksum(&out[ENVELOPE..]);
        out[0..4].copy_from_slice(&length.to_le_bytes());
        out[4..8].copy_from_slice(&(self.plain.len() as u32).to_le_bytes());
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out[12] = flags;
        let own = checksum(&out[..13]);
        out[13..ENVELOPE].copy_from_slice(&own.to_le_bytes());
        out
    }

    /// Bytes before packing.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }
}

/// The CRC-32 of gzip.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A frame's envelope, read and found possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    /// How many bytes follow it.
    pub(super) packed: usize,
    plain: u32,
    crc: u32,
    flags: u8,
}

impl Envelope {
    pub(super) fn read(bytes: &[u8; ENVELOPE]) -> Result<Self, Bad> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, flags, own @ ..] = *bytes;
        let of = [a, b, c, d, e, f, g, h, i, j, k, l, flags];
        if checksum(&of) != u32::from_le_bytes(own) {
            return Err("the checksum of a frame's envelope is wrong");
        }
        let envelope = Self {
            packed: u32::from_le_bytes([a, b, c, d]) as usize,
            plain: u32::from_le_bytes([e, f, g, h]),
            crc: u32::from_le_bytes([i, j, k, l]),
            flags,
        };
        if envelope.packed > MAX_PACKED || envelope.plain as usize > MAX_FRAME {
            return Err("a frame's length is not possible");
        }
        Ok(envelope)
    }

    pub(super) const fn resets(&self) -> bool {
        self.flags & RESET != 0
    }

    /// Unpacks what follows the envelope into `plain`.
    pub(super) fn unpack(&self, packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Bad> {
        if checksum(packed) != self.crc {
            return Err("a frame's checksum is wrong");
        }
        let length = self.plain as usize;
        plain.clear();
        // One more than it should hold, so that a longer one is noticed; never more, whatever is packed in there.
        plain.reserve_exact(length + 1);
        let status = Decompress::new(false).decompress_vec(packed, plain, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) if plain.len() == length => Ok(()),
            _ => Err("a frame cannot be unpacked"),
        }
    }
}
