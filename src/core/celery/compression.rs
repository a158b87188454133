//! Undoing what kombu's `compression` option did.
//!
//! Its names mislead: what kombu calls `application/x-gzip` is Python's `zlib.compress`, the zlib format. Both are read,
//! told apart by their first bytes.

use std::io::Read;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::raw::Malformed;

/// What a real gzip begins with; zlib never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// By how much the output grows at a time, in bytes.
const STEP: usize = 16 << 10;

/// The body without its compression: as it is, or unpacked into `scratch`. Never more than `max` bytes.
pub(crate) fn unpack<'a>(
    compression: &str,
    body: &'a [u8],
    scratch: &'a mut Vec<u8>,
    max: usize,
) -> Result<&'a [u8], Malformed> {
    scratch.clear();
    match compression {
        "" => return Ok(body),
        "application/x-gzip" | "gzip" | "zlib" if body.starts_with(&GZIP) => {
            read(MultiGzDecoder::new(body), scratch, max)?;
        }
        "application/x-gzip" | "gzip" | "zlib" => zlib(body, scratch, max)?,
        "application/x-bz2" | "bzip2" | "bzip" => read(MultiBzDecoder::new(body), scratch, max)?,
        _ => return Err(Malformed::Compression),
    }
    Ok(scratch)
}

/// Not through flate2's readers: they take a stream that was cut off for one that ended.
fn zlib(body: &[u8], scratch: &mut Vec<u8>, max: usize) -> Result<(), Malformed> {
    let mut inflate = Decompress::new(true);
    loop {
        scratch.reserve(STEP.min(max + 1));
        let read = usize::try_from(inflate.total_in()).map_err(|_| Malformed::TooLarge)?;
        let rest = body.get(read..).unwrap_or_default();
        let before = scratch.len();
        let status = inflate
            .decompress_vec(rest, scratch, FlushDecompress::None)
            .map_err(|_| Malformed::Compression)?;
        if scratch.len() > max {
            return Err(Malformed::TooLarge);
        }
        let stuck = scratch.len() == before && inflate.total_in() == read as u64;
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError if stuck => return Err(Malformed::Compression),
            Status::Ok | Status::BufError => {}
        }
    }
}

fn read(decoder: impl Read, scratch: &mut Vec<u8>, max: usize) -> Result<(), Malformed> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(limit)
        .read_to_end(scratch)
        .map_err(|_| Malformed::Compression)?;
    if scratch.len() > max {
        Err(Malformed::TooLarge)
    } else {
        Ok(())
    }
}
