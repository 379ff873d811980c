//! Parts: what the origin takes.

/// The origin's.
pub(crate) mod origin {
    use std::collections::BTreeMap;
    #[derive(Debug, Clone)]
    pub(crate) struct Config {
        pub(crate) domains: Vec<String>,
        pub(crate) node: String,
        pub(crate) registration: Registration,
        pub(crate) contact: BTreeMap<String, Vec<String>>,
        pub(crate) scram_iterations: u32,
        pub(crate) shards: usize,
        pub(crate) limits: Limits,
    }
    #[derive(Debug, Clone)]
    pub(crate) struct Registration {
        pub(crate) open: bool,
        pub(crate) per_hour_per_address: u32,
    }
    #[derive(Debug, Clone)]
    pub(crate) struct Limits {
        pub(crate) resources_per_account: u32,
        pub(crate) roster_items: u32,
        pub(crate) offline_messages: u32,
        pub(crate) private_bytes: u32,
        pub(crate) vcard_bytes: u32,
        pub(crate) recipients_per_minute: u32,
        pub(crate) auth_failures_per_minute: u32,
        pub(crate) account_idle_secs: u64,
        pub(crate) commit_timeout_secs: u64,
    }
    impl Default for Config {
        fn default() -> Self {
            Self {
                domains: vec!["localhost".into()],
                node: "local".into(),
                registration: Registration {
                    open: false,
                    per_hour_per_address: 10,
                },
                contact: BTreeMap::new(),
                scram_iterations: 10_000,
                shards: 0,
                limits: Limits {
                    resources_per_account: 50,
                    roster_items: 5000,
                    offline_messages: 1000,
                    private_bytes: 65_536,
                    vcard_bytes: 262_144,
                    recipients_per_minute: 600,
                    auth_failures_per_minute: 5,
                    account_idle_secs: 60,
                    commit_timeout_secs: 10,
                },
            }
        }
    }
}
