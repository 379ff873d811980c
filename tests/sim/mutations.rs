//! Mutations: each takes one mechanism away; the checks must notice within so many seeds.

/// A mechanism that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The store takes commits from whoever makes them.
    NoFence,
    /// A commit is reported before it is made, and may never be.
    EarlyCommit,
    /// Stanzas between accounts do not say what they come from.
    NoRouteSource,
    /// Stanzas for clients do not say what they come from.
    NoDeliverSource,
    /// An edge does not send what is in flight to a new owner.
    NoReplay,
    /// An edge takes frames of former owners.
    OldEpochs,
    /// An origin settles what the edge has not accepted.
    EarlySettle,
    /// Origins are not told that the ways have changed.
    NoRerouted,
    /// A session attaches without what its client has not acknowledged.
    NoUnacked,
    /// A new owner does not wait for the sessions of the edges.
    NoExpect,
    /// A client that resumes is told one more than has taken effect.
    HighResumed,
    /// What an edge has not accepted when its link breaks is taken for accepted.
    ForgottenDebts,
    /// An edge says that it has accepted what it has refused.
    RefusedAccepted,
    /// An account's sleeping sessions are not found by a new owner.
    NoSleepers,
}

/// All of them, by name.
pub(crate) const ALL: &[(&str, Mutation)] = &[
    ("no-fence", Mutation::NoFence),
    ("early-commit", Mutation::EarlyCommit),
    ("no-route-source", Mutation::NoRouteSource),
    ("no-deliver-source", Mutation::NoDeliverSource),
    ("no-replay", Mutation::NoReplay),
    ("old-epochs", Mutation::OldEpochs),
    ("early-settle", Mutation::EarlySettle),
    ("no-rerouted", Mutation::NoRerouted),
    ("no-unacked", Mutation::NoUnacked),
    ("no-expect", Mutation::NoExpect),
    ("high-resumed", Mutation::HighResumed),
    ("forgotten-debts", Mutation::ForgottenDebts),
    ("refused-accepted", Mutation::RefusedAccepted),
    ("no-sleepers", Mutation::NoSleepers),
];
