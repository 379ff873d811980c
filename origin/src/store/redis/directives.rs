//! What operators have ordered: one value that begins with its version in digits, so that a beat
//! can tell it without reading the rest.

use ::redis::cmd;
use bytes::Bytes;

use super::key::Shared;
use super::script::{self, Call};
use super::{Redis, read};
use crate::directives::Directives;
use crate::store::{Error, directives};

impl Redis {
    /// The document there is.
    pub(super) async fn read_directives(&self) -> Result<Directives, Error> {
        let mut command = cmd("GET");
        command.arg(self.keys.shared(Shared::Directives));
        let stored: Option<Vec<u8>> = read(self.command(command).await?)?;
        let Some(stored) = stored else {
            return Ok(Directives::default());
        };
        let begin = stored.iter().position(|byte| *byte == b' ');
        let damaged = || Error::Corrupt("the directives do not begin with a version".to_owned());
        let begin = begin.ok_or_else(damaged)? + 1;
        directives::decode(&Bytes::from(stored).slice(begin..))
    }

    /// Puts another document in its place, if it is still of this version; whether it was.
    pub(super) async fn swap_directives(
        &self,
        expected: u64,
        next: &Directives,
    ) -> Result<bool, Error> {
        let mut value = format!("{} ", next.version).into_bytes();
        value.extend(directives::encode(next));
        let call = Call::new([self.keys.shared(Shared::Directives)])
            .with(expected.to_string())
            .with(value);
        read(self.run(&script::DIRECT, call).await?)
    }
}
