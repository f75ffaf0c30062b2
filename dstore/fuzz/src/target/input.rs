//! The bytes of an input, read as whatever a target needs next; when they are used up, as zeros.

/// The rest of an input.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let given = self.bytes(N);
        array[..given.len()].copy_from_slice(given);
        array
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_be_bytes(self.array())) % bound
    }

    /// Any number, small ones and those beside powers of two as likely as large ones.
    pub(super) fn number(&mut self) -> u64 {
        let shape = self.byte();
        let bits = u64::from_be_bytes(self.array());
        match shape % 4 {
            0 => bits & 0xff,
            1 => (1_u64 << (bits % 64)).wrapping_add(bits >> 61).wrapping_sub(4),
            2 => bits >> (shape >> 2),
            _ => bits,
        }
    }

    /// The next bytes, at most `len`.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (given, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        given
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
