//! What a stanza carries that is followed from node to node; see [`crate::trace`].

/// What a sampled stanza carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Of all that comes of one stanza of a client; not 0.
    pub id: TraceId,
    /// What was done last; not 0.
    pub span: SpanId,
    /// When it came to this process, in nanoseconds since 1970, where that is measured from; else
    /// 0. Does not cross the link.
    pub at: u64,
}

/// Names all that comes of one stanza of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// Names one thing that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub u64);
