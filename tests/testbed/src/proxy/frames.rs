//! Where HTTP/2 frames begin in a stream of bytes (RFC 9113, section 4.1), to lose a reply and nothing else: a member
//! also sends pings and window updates while the request is still under way, and a connection cut at one of those would
//! cancel the request instead of losing its reply.

/// What a client sends before its first frame: 24 bytes.
pub(super) const PREFACE: usize = 24;
const HEADER: usize = 9;

/// The type of a frame that carries (part of) a body.
pub(super) const DATA: u8 = 0;
/// The type of a frame that opens a request or a reply.
pub(super) const HEADERS: u8 = 1;
/// The type of a frame that cancels a request.
pub(super) const RST_STREAM: u8 = 3;

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) length: usize,
    /// Where in the chunk its header ended; its header may have begun in an earlier chunk.
    pub(super) header_end: usize,
}

impl Frame {
    /// Where in the chunk its header began, 0 when in an earlier one.
    pub(super) fn start(&self) -> usize {
        self.header_end.saturating_sub(HEADER)
    }
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    skip: usize,
    header: Vec<u8>,
    /// The stream whose body is passing by.
    body_of: Option<u32>,
}

impl Scanner {
    /// `skip` bytes come before the first frame.
    pub(super) fn new(skip: usize) -> Self {
        Self {
            skip,
            header: Vec::with_capacity(HEADER),
            body_of: None,
        }
    }

    /// The frames whose headers end in this chunk.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<Frame> {
        self.feed_with(chunk, |_, _| {})
    }

    /// As [`Self::feed`]; `body` is given each piece of a body, with its stream.
    pub(super) fn feed_with(
        &mut self,
        chunk: &[u8],
        mut body: impl FnMut(u32, &[u8]),
    ) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut at = 0;
        while at < chunk.len() {
            let skipped = self.skip.min(chunk.len() - at);
            self.skip -= skipped;
            if let Some(stream) = self.body_of.filter(|_| skipped > 0) {
                body(stream, &chunk[at..at + skipped]);
            }
            at += skipped;
            let taken = (HEADER - self.header.len()).min(chunk.len() - at);
            self.header.extend_from_slice(&chunk[at..at + taken]);
            at += taken;
            if let [a, b, c, kind, _flags, s0, s1, s2, s3] = self.header[..] {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
                frames.push(Frame {
                    kind,
                    stream,
                    length,
                    header_end: at,
                });
                self.skip = length;
                self.body_of = (kind == DATA).then_some(stream);
                self.header.clear();
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let mut bytes = vec![b'x'; 3];
        bytes.extend_from_slice(&[0, 0, 2, DATA, 0, 0x80, 0, 0, 5, 1, 2]);
        bytes.extend_from_slice(&[0, 0, 0, 6, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 1, 0, HEADERS, 4, 0, 0, 1, 1]);
        bytes.extend(std::iter::repeat_n(7, 256));
        let seen = |f: &Frame| (f.kind, f.stream, f.length);
        let expected = [(DATA, 5, 2), (6, 0, 0), (HEADERS, 257, 256)];
        for size in 1..bytes.len() {
            let mut scanner = Scanner::new(3);
            let frames: Vec<_> = bytes.chunks(size).flat_map(|c| scanner.feed(c)).collect();
            assert_eq!(
                frames.iter().map(seen).collect::<Vec<_>>(),
                expected,
                "in chunks of {size}"
            );
        }
        let mut bodies = Vec::new();
        for size in 1..bytes.len() {
            let mut scanner = Scanner::new(3);
            let mut body = Vec::new();
            for chunk in bytes.chunks(size) {
                scanner.feed_with(chunk, |stream, piece| {
                    assert_eq!(stream, 5);
                    body.extend_from_slice(piece);
                });
            }
            bodies.push(body);
        }
        assert!(bodies.iter().all(|body| body == &[1, 2]), "{bodies:?}");
        let whole = Scanner::new(3).feed(&bytes);
        assert_eq!(
            whole.iter().map(Frame::start).collect::<Vec<_>>(),
            [3, 14, 23]
        );
    }
}
