//! Everything seen from outside: the real binary as a process, plain clients, real bytes.

#[cfg(test)]
mod harness;

mod docs;

mod operator;

mod scenes;

mod tidy;
