//! What a room answers for itself: the tables, the lists, the configuration.

mod affiliation;
