//! Everything seen from outside: the real binary as a process, plain clients, real bytes.

#[cfg(test)]
mod harness;

mod access_log;
mod access_log_cluster;
mod attacks_flood;
mod attacks_login;
mod attacks_proxy;
mod attacks_register;
mod attacks_rooms;
mod attacks_session;
mod attacks_smuggling;
mod attacks_tls;
mod attacks_xml;
mod check_login;
mod docs;
mod limits;
mod login;
mod management;
mod metrics;
mod onlook;
mod operator;
mod restart;
mod scenes;
mod shutdown;
mod tidy;
mod traffic;
