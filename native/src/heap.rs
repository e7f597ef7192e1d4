//! The allocator of this library.
//!
//! What Lance reads, merges and writes are large blocks, allocated on one thread
//! and freed on another. glibc keeps each in the heap of its thread, and gives
//! nothing back that lies below anything in use: after hours of flushes and
//! compactions that is several times what is in use. Here large blocks are mapped
//! one by one, and go back to the system when they are freed but for a few, which
//! the next of their size are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard};

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Kept {
    blocks: [(0, 0); MOST_KEPT],
    count: 0,
    bytes: 0,
}));

/// Blocks of that many bytes are large.
const LARGE: usize = 64 << 10;

/// Freed blocks that are kept, together.
const KEPT_BYTES: usize = 32 << 20;
const MOST_KEPT: usize = KEPT_BYTES / LARGE;

/// Larger alignments are left to the system.
const PAGE: usize = 4096;

struct Heap(Mutex<Kept>);

/// Address and size of blocks, the oldest first.
struct Kept {
    blocks: [(usize, usize); MOST_KEPT],
    count: usize,
    bytes: usize,
}

impl Kept {
    fn take(&mut self, size: usize) -> Option<usize> {
        let blocks = &self.blocks[..self.count];
        let at = blocks.iter().rposition(|block| block.1 == size)?;
        Some(self.remove(at).0)
    }

    fn put(&mut self, block: (usize, usize)) {
        self.blocks[self.count] = block;
        self.count += 1;
        self.bytes += block.1;
    }

    fn remove(&mut self, at: usize) -> (usize, usize) {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= block.1;
        block
    }
}

fn is_large(layout: &Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// The size of the block for so many bytes: one of eight in each doubling.
fn block_size(bytes: usize) -> usize {
    let step = 1 << (bytes.ilog2() - 3);
    bytes.next_multiple_of(step)
}

fn map(size: usize) -> *mut u8 {
    // SAFETY: a new mapping overlaps nothing.
    let block = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
            -1,
            0,
        )
    };
    match block == libc::MAP_FAILED {
        true => std::ptr::null_mut(),
        false => block.cast(),
    }
}

/// # Safety
/// The block is one of [`map`], of that size, and nobody uses it any more.
unsafe fn unmap(block: *mut u8, size: usize) {
    libc::munmap(block.cast(), size);
}

impl Heap {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A block, and whether it is all zeros.
    fn block(&self, size: usize) -> (*mut u8, bool) {
        match self.kept().take(size) {
            Some(block) => (block as *mut u8, false),
            None => (map(size), true),
        }
    }

    unsafe fn give_back(&self, block: *mut u8, size: usize) {
        if size > KEPT_BYTES / 2 {
            return unmap(block, size);
        }
        let mut kept = self.kept();
        while kept.bytes + size > KEPT_BYTES {
            let oldest = kept.remove(0);
            unmap(oldest.0 as *mut u8, oldest.1);
        }
        kept.put((block as usize, size));
    }
}

// SAFETY: a block is the system's or, by its layout alone, one of `map` of
// `block_size`, which nobody else has until it is freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(&layout) {
            true => self.block(block_size(layout.size())).0,
            false => System.alloc(layout),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(&layout) {
            return System.alloc_zeroed(layout);
        }
        let (block, zeros) = self.block(block_size(layout.size()));
        if !zeros {
            block.write_bytes(0, layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match is_large(&layout) {
            true => self.give_back(block, block_size(layout.size())),
            false => System.dealloc(block, layout),
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = Layout::from_size_align_unchecked(size, layout.align());
        match (is_large(&layout), is_large(&new)) {
            (false, false) => return System.realloc(block, layout, size),
            (true, true) if block_size(layout.size()) == block_size(size) => return block,
            _ => (),
        }
        let moved = self.alloc(new);
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(block, size.min(layout.size()));
            self.dealloc(block, layout);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_at_most_an_eighth_too_large() {
        for bytes in (LARGE..4 * LARGE).chain([(1 << 30) + 1, (5 << 20) - 1]) {
            let size = block_size(bytes);
            assert!(
                size >= bytes && size - bytes <= bytes / 8,
                "{bytes}: {size}"
            );
            assert_eq!(block_size(size), size);
        }
    }

    #[test]
    fn blocks_keep_what_was_written_and_zeros_are_zeros() {
        let mut grown: Vec<u8> = Vec::new();
        for i in 0..(3 * LARGE) {
            grown.push(i as u8);
        }
        grown.shrink_to(LARGE / 2);
        assert!(grown.iter().enumerate().all(|(i, &b)| b == i as u8));
        for size in [LARGE - 1, LARGE, 5 * LARGE, KEPT_BYTES] {
            drop(vec![7u8; size]);
            assert!(vec![0u8; size].iter().all(|&b| b == 0), "{size}");
        }
    }
}
