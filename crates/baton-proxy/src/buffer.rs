//! Bytes that could not be passed on at once: a pool per worker, and two scratch areas that every
//! read and write of the worker goes through.
//!
//! A socket is read into the scratch area and what was read is written on directly. Only what the
//! other side did not take is copied into a [`Buffer`], and only for as long as it lies there: an idle
//! connection or stream holds none.

use std::cell::{RefCell, RefMut};

/// Bytes that one read of a socket takes at most.
pub(crate) const SCRATCH: usize = 64 * 1024;
/// What a fresh buffer holds without growing: most heads fit.
const INITIAL: usize = 4 * 1024;
/// A buffer that has grown beyond this goes back to the allocator instead of the pool.
const LARGEST_POOLED: usize = 16 * 1024;
/// Buffers kept for later by one worker.
const POOLED: usize = 256;

/// The buffers of one worker.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
    read: RefCell<Box<[u8]>>,
    write: RefCell<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers {
            free: RefCell::default(),
            read: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            write: RefCell::new(Vec::with_capacity(SCRATCH + INITIAL)),
        }
    }
}

impl Buffers {
    /// Where a socket is read into. Not to be held over an await: everyone on the worker shares it.
    pub(crate) fn read_scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.read.borrow_mut()
    }

    /// Where a message is written anew; empty. Not to be held over an await.
    pub(crate) fn write_scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.write.borrow_mut();
        scratch.clear();
        scratch
    }

    fn take(&self) -> Vec<u8> {
        self.free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(INITIAL))
    }

    fn give(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() == 0 || bytes.capacity() > LARGEST_POOLED {
            return;
        }
        let mut free = self.free.borrow_mut();
        if free.len() < POOLED {
            bytes.clear();
            free.push(bytes);
        }
    }
}

/// Bytes in order, taken from the front; without memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Adds at the end.
    pub(crate) fn append(&mut self, pool: &Buffers, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.writer(pool).extend_from_slice(bytes);
        }
    }

    /// For writing at the end piece by piece; a buffer comes from the pool.
    pub(crate) fn writer(&mut self, pool: &Buffers) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        } else if self.start > 0 && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Takes `count` bytes away from the front; an empty buffer goes back to the pool.
    pub(crate) fn consume(&mut self, pool: &Buffers, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.release(pool);
        }
    }

    /// Forgets what is left.
    pub(crate) fn release(&mut self, pool: &Buffers) {
        self.start = 0;
        pool.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Buffers, LARGEST_POOLED};

    #[test]
    fn an_empty_buffer_goes_back_to_the_pool() {
        let pool = Buffers::default();
        let mut buffer = Buffer::default();
        buffer.append(&pool, b"abc");
        buffer.consume(&pool, 2);
        assert_eq!(buffer.rest(), b"c");
        assert!(pool.free.borrow().is_empty());
        buffer.consume(&pool, 1);
        assert_eq!(pool.free.borrow().len(), 1);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn a_large_buffer_goes_back_to_the_allocator() {
        let pool = Buffers::default();
        let mut buffer = Buffer::default();
        buffer.append(&pool, &vec![1; LARGEST_POOLED + 1]);
        let length = buffer.len();
        buffer.consume(&pool, length);
        assert!(pool.free.borrow().is_empty());
    }

    #[test]
    fn bytes_stay_in_order_over_appends_and_takes() {
        let pool = Buffers::default();
        let mut buffer = Buffer::default();
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for round in 0..200u8 {
            let piece = vec![round; usize::from(round)];
            written.extend_from_slice(&piece);
            buffer.append(&pool, &piece);
            let some = buffer.len() / 2;
            read.extend_from_slice(&buffer.rest()[..some]);
            buffer.consume(&pool, some);
        }
        read.extend_from_slice(buffer.rest());
        assert_eq!(read, written);
    }
}
