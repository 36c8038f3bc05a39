//! Requests that wait for a flush, and requests kept to be sent once more: buffers that are used again.

use std::ops::Range;

/// The requests of one turn, in the order written.
#[derive(Default)]
pub(super) struct Outgoing {
    octets: Vec<u8>,
    messages: Vec<Message>,
}

/// Where a request is, and which socket it leaves by.
struct Message {
    socket: usize,
    range: Range<usize>,
}

impl Outgoing {
    /// Adds what `write` writes, to leave by socket number `socket`; returns it.
    pub(super) fn add(&mut self, socket: usize, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.octets.len();
        write(&mut self.octets);
        let range = start..self.octets.len();
        self.messages.push(Message { socket, range: range.clone() });
        self.octets.get(range).unwrap_or_default()
    }

    /// Brings requests of the same length together, which the kernel takes as one.
    pub(super) fn sort(&mut self) {
        self.messages.sort_unstable_by_key(|message| (message.range.len(), message.range.start));
    }

    /// The requests with their sockets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.messages.iter().map(|message| {
            (message.socket, self.octets.get(message.range.clone()).unwrap_or_default())
        })
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.messages.clear();
    }
}

/// Requests that cannot be written once more, while their answer is awaited.
#[derive(Default)]
pub(super) struct Kept {
    buffers: Vec<Vec<u8>>,
    free: Vec<u32>,
}

/// No buffer.
pub(super) const NOT_KEPT: u32 = u32::MAX;

impl Kept {
    /// Keeps a request.
    pub(super) fn keep(&mut self, octets: &[u8]) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            u32::try_from(self.buffers.len() - 1).unwrap_or(NOT_KEPT)
        });
        if let Some(buffer) = self.buffers.get_mut(number as usize) {
            buffer.clear();
            buffer.extend_from_slice(octets);
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> &[u8] {
        self.buffers.get(number as usize).map_or(&[], |buffer| buffer)
    }

    pub(super) fn release(&mut self, number: u32) {
        if (number as usize) < self.buffers.len() {
            self.free.push(number);
        }
    }
}
