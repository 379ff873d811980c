//! Node: what a node is called if nobody says.

/// The name of this machine, without its domain.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    match short {
        "" => "localhost".to_owned(),
        short => short.to_owned(),
    }
}
