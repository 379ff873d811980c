//! Token: the secret in a file that opens the port for operators.
//!
//! One line of at least [`LENGTH_MIN`] characters. In memory there is only its digest, so that
//! nothing that shows what the server knows can show a token.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The fewest characters that nobody guesses.
const LENGTH_MIN: usize = 16;

/// The most a header carries in comfort. A file with more is not a token.
const LENGTH_MAX: usize = 4096;

/// What is kept of a token.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; 32]);

// === impl Digest ===

impl Digest {
    /// Of a token, or of what somebody says is one.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether it is the same. Takes the same time whatever the answer.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// The token in a file.
///
/// # Errors
/// Why there is none, in words for the operator; never with what is in the file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LENGTH_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    let token = text.trim();
    let length = token.len();
    if text.len() > LENGTH_MAX {
        return Err(format!("is no token: it has more than {LENGTH_MAX} bytes"));
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(
            "is no token: it must be one line of letters, digits and signs, without spaces"
                .to_owned(),
        );
    }
    if length < LENGTH_MIN {
        return Err(format!(
            "has {length} characters, and a token needs {LENGTH_MIN}, or it can be guessed; \
             `openssl rand -hex 32` makes one"
        ));
    }
    Ok(token.to_owned())
}

/// Whether anybody on this machine may read the file.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_that_nobody_guesses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let check = |content: &[u8], expected: Result<&str, &str>| {
            std::fs::write(&path, content).expect("written");
            match (read(&path), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(found), Err(part)) => {
                    assert!(found.contains(part), "{found}");
                    assert!(!found.contains("abcdef"), "it shows the token: {found}");
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        };
        check(b"abcdef0123456789\n", Ok("abcdef0123456789"));
        check(b"  abcdef0123456789  \r\n", Ok("abcdef0123456789"));
        check(b"", Err("has 0 characters"));
        check(b"abcdef012345678\n", Err("has 15 characters"));
        check(b"abcdef0123456789\nabcdef", Err("one line"));
        check("abcdef0123456789ä".as_bytes(), Err("one line"));
        check(b"abcdef0123456789\xff", Err("cannot be read"));
        check(&[b'a'; LENGTH_MAX + 1], Err("more than"));
        std::fs::remove_file(&path).expect("removed");
        assert!(read(&path).is_err_and(|wrong| wrong.contains("cannot be read")));
    }

    #[test]
    fn a_digest_says_nothing_of_the_token() {
        let digest = Digest::of("abcdef0123456789");
        assert!(digest.is(&Digest::of("abcdef0123456789")));
        assert!(!digest.is(&Digest::of("abcdef012345678")));
        assert_eq!(format!("{digest:?}"), "Digest(…)");
    }
}
