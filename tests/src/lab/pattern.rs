//! Payload that names its own position.

use std::io::{self, Write};

/// Bytes that name their own position: any loss, repetition or reordering shows. `length` in bytes.
pub fn write_pattern(out: &mut impl Write, length: u64, mut pause: impl FnMut()) -> io::Result<()> {
    let mut block = Vec::with_capacity(65_536);
    let mut word = 0u64;
    let mut left = length;
    while left > 0 {
        block.clear();
        while block.len() < 65_536 {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            let mut z = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            block.extend_from_slice(&(z ^ (z >> 27)).to_le_bytes());
            word += 1;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        out.write_all(&block[..take])?;
        left -= take as u64;
        pause();
    }
    Ok(())
}
