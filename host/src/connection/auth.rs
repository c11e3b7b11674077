//! Authentication: how the host proves its identity to a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::{ConnectOptions, ServerAddr};
use nkeys::{KeyPair, KeyPairType};

use super::connect_error::ConnectError;
use crate::config::{Auth, Secret};
use crate::random::Token;

/// One way to authenticate, checked as far as that is possible without a server.
pub(super) enum Login {
    /// No credentials at all.
    Anonymous,
    /// A token.
    Token(Secret),
    /// A user's name and password.
    User {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A key in a file, which signs the server's challenge.
    Key(KeyFile),
}

impl Login {
    /// The way that the settings name, or else the user or token that the servers' addresses carry. Both are taken out of
    /// the addresses.
    ///
    /// # Errors
    /// `File` for a key file that cannot be used; `Settings` where the addresses carry different users.
    pub(super) fn new(auth: &Auth, servers: &mut [ServerAddr]) -> Result<Self, ConnectError> {
        let carried = take_users(servers)?;
        Ok(match auth {
            Auth::None => carried.unwrap_or(Self::Anonymous),
            Auth::Token(token) => Self::Token(token.clone()),
            Auth::UserPassword { username, password } => Self::User {
                username: username.clone(),
                password: password.clone(),
            },
            Auth::Credentials(path) => Self::Key(KeyFile::new(KeyFileKind::Credentials, path)?),
            Auth::NkeyFile(path) => Self::Key(KeyFile::new(KeyFileKind::Nkey, path)?),
        })
    }

    /// Options that authenticate this way. An attempt that has a ticket, for the relay, shows it before the token.
    pub(super) fn options(
        self: &Arc<Self>,
        ticket: impl Fn() -> Option<Token> + Send + Sync + 'static,
    ) -> ConnectOptions {
        let login = Arc::clone(self);
        ConnectOptions::with_auth_callback(move |nonce| {
            let auth = login.auth(&nonce).map(|mut auth| {
                if let Some(ticket) = ticket() {
                    let token = auth.token.unwrap_or_default();
                    auth.token = Some(format!("{ticket}{token}"));
                }
                auth
            });
            std::future::ready(auth.map_err(async_nats::AuthError::new))
        })
    }

    /// The answer to a server's challenge.
    fn auth(&self, nonce: &[u8]) -> Result<async_nats::Auth, String> {
        let mut auth = async_nats::Auth::new();
        match self {
            Self::Anonymous => {}
            Self::Token(token) => auth.token = Some(token.expose().to_owned()),
            Self::User { username, password } => {
                auth.username = Some(username.clone());
                auth.password = Some(password.expose().to_owned());
            }
            // The file is read for every connect, so that a renewed one is used without a restart.
            Self::Key(file) => return file.sign(nonce),
        }
        Ok(auth)
    }

    /// Words for the credentials, to follow "the server does not let us in". No secret is among them.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Anonymous => "without credentials".to_owned(),
            Self::Token(_) => "with this token".to_owned(),
            Self::User { username, .. } => format!("as user '{username}' with this password"),
            Self::Key(file) => format!("with {} {}", file.kind.describe(), file.path.display()),
        }
    }
}

/// A file with a key. The key is read for each use, not kept.
pub(super) struct KeyFile {
    /// The format of the file.
    kind: KeyFileKind,
    /// The path, as the settings have it.
    path: PathBuf,
}

/// A format of key files.
#[derive(Clone, Copy)]
enum KeyFileKind {
    /// A credentials file: a user's JWT, and a seed.
    Credentials,
    /// A user's seed alone.
    Nkey,
}

impl KeyFileKind {
    /// Words for a file of this kind, to precede its path.
    const fn describe(self) -> &'static str {
        match self {
            Self::Credentials => "the credentials file",
            Self::Nkey => "the NKey file",
        }
    }
}

impl KeyFile {
    /// A file that can be read, with a key that is valid.
    ///
    /// # Errors
    /// `File` otherwise.
    fn new(kind: KeyFileKind, path: &Path) -> Result<Self, ConnectError> {
        let file = Self {
            kind,
            path: path.to_owned(),
        };
        match file.read() {
            Ok(_) => Ok(file),
            Err(reason) => Err(ConnectError::File {
                what: kind.describe(),
                path: file.path,
                reason,
            }),
        }
    }

    /// Reads the user's JWT, if this kind of file has one, and the key. An error is in words that follow the path.
    fn read(&self) -> Result<(Option<String>, KeyPair), String> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let (jwt, seed) = match self.kind {
            KeyFileKind::Credentials => {
                let jwt = block(&text, "USER JWT").ok_or("it has no block 'NATS USER JWT'")?;
                let seed =
                    block(&text, "USER NKEY SEED").ok_or("it has no block 'USER NKEY SEED'")?;
                (Some(jwt.to_owned()), seed)
            }
            KeyFileKind::Nkey => {
                let mut lines = text.lines().map(str::trim);
                (
                    None,
                    lines
                        .find(|line| line.starts_with("SU"))
                        .ok_or("it has no line 'SU…', a user's seed")?,
                )
            }
        };
        let key =
            KeyPair::from_seed(seed).map_err(|error| format!("its seed is not valid: {error}"))?;
        match key.key_pair_type() {
            KeyPairType::User => Ok((jwt, key)),
            other => Err(format!("its seed is not a user's, but of kind {other:?}")),
        }
    }

    /// The answer to a server's challenge.
    fn sign(&self, nonce: &[u8]) -> Result<async_nats::Auth, String> {
        let (jwt, key) = self
            .read()
            .map_err(|reason| format!("{}: {reason}", self.path.display()))?;
        let mut auth = async_nats::Auth::new();
        auth.signature = Some(key.sign(nonce).map_err(|error| error.to_string())?);
        match jwt {
            Some(jwt) => auth.jwt = Some(jwt),
            None => auth.nkey = Some(key.public_key()),
        }
        Ok(auth)
    }
}

/// The text of a credentials file between `-----BEGIN … name-----` and the block's end.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_begin =
        |line: &&str| line.starts_with("---") && line.contains("BEGIN") && line.contains(name);
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| !is_begin(line))
        .skip(1);
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with("---"))
}

/// Takes `user:password@` or `token@` out of the addresses. The client has one identity for all of them.
///
/// # Errors
/// `Settings` where they carry different ones.
fn take_users(servers: &mut [ServerAddr]) -> Result<Option<Login>, ConnectError> {
    let mut found: Option<(String, Option<String>)> = None;
    for server in servers {
        let Some(user) = server.username() else {
            continue;
        };
        let user = (
            percent_decoded(user),
            server.password().map(percent_decoded),
        );
        if found.as_ref().is_some_and(|other| *other != user) {
            return Err(ConnectError::Settings(
                "the servers' addresses carry different users: set one username and password for all of them"
                    .into(),
            ));
        }
        found = Some(user);
        *server = without_user(server);
    }
    Ok(found.map(|(username, password)| match password {
        Some(password) => Login::User {
            username,
            password: Secret::new(password),
        },
        None => Login::Token(Secret::new(username)),
    }))
}

/// The address without `user:password@`.
fn without_user(server: &ServerAddr) -> ServerAddr {
    let mut url = server.clone().into_inner();
    // These fail only for addresses that cannot have a user.
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    debug_assert!(removed.is_ok(), "an address with a user can be without");
    ServerAddr::from_url(url).unwrap_or_else(|_| server.clone())
}

/// Decodes `%40` to `@`. Text that is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_an_address_moves_into_the_login() {
        let mut servers = ["nats://us%40er:p%25w@127.0.0.1:4222"
            .parse()
            .expect("an address")];
        let login = Login::new(&Auth::None, &mut servers).expect("a login");
        assert_eq!(servers[0].as_url_str(), "nats://127.0.0.1:4222");
        match login {
            Login::User { username, password } => {
                assert_eq!((username.as_str(), password.expose()), ("us@er", "p%w"));
            }
            _ => panic!("not a user: {}", login.describe()),
        }
    }

    #[test]
    fn a_user_without_a_password_is_a_token() {
        let mut servers = ["nats://s3cret@127.0.0.1:4222".parse().expect("an address")];
        let login = Login::new(&Auth::None, &mut servers).expect("a login");
        assert!(matches!(login, Login::Token(token) if token.expose() == "s3cret"));
    }

    #[test]
    fn two_users_in_the_addresses_are_refused_without_their_passwords() {
        let mut servers = ["nats://a:secret1@h:1", "nats://b:secret2@h:2"]
            .map(|s| s.parse().expect("an address"));
        let error = Login::new(&Auth::None, &mut servers)
            .err()
            .expect("an error")
            .to_string();
        assert!(
            error.contains("different users") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn the_blocks_of_a_credentials_file_are_found() {
        let text = "-----BEGIN NATS USER JWT-----\r\neyJ0.a-b_c\r\n------END NATS USER JWT------\r\n\r\n\
                    ***** IMPORTANT *****\n-----BEGIN USER NKEY SEED-----\n\nSUAB\n------END USER NKEY SEED------\n";
        assert_eq!(block(text, "USER JWT"), Some("eyJ0.a-b_c"));
        assert_eq!(block(text, "USER NKEY SEED"), Some("SUAB"));
        assert_eq!(
            block("-----BEGIN NATS USER JWT-----\n------END", "USER JWT"),
            None
        );
    }
}
