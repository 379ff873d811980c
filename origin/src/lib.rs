//! The account side of Couplet: owns slots, applies the routing rules, runs the features.

pub mod store;
