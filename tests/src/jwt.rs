//! An operator with one account, as `nsc` would make them: what a server with decentralized authentication trusts.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Who vouches for users.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

/// A user of the operator's account.
pub struct JwtUser {
    key: KeyPair,
    jwt: String,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
        }
    }
}

impl Operator {
    /// The configuration of a server that trusts this operator. These users are let in no more.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub fn config(&self, revoked: &[&JwtUser]) -> Result<String> {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1
        });
        let now = now();
        let revocations: serde_json::Map<String, Value> = revoked
            .iter()
            .map(|user| (user.key.public_key(), json!(now)))
            .collect();
        let operator = claims(
            &self.operator,
            &self.operator,
            &json!({ "type": "operator", "version": 2 }),
        )?;
        let account = claims(
            &self.operator,
            &self.account,
            &json!({ "type": "account", "version": 2, "limits": limits, "revocations": revocations }),
        )?;
        let id = self.account.public_key();
        Ok(format!(
            "operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {id}: {account} }}\n"
        ))
    }

    /// A new user of the account.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub fn user(&self) -> Result<JwtUser> {
        let key = KeyPair::new_user();
        let jwt = claims(
            &self.account,
            &key,
            &json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} }),
        )?;
        Ok(JwtUser { key, jwt })
    }
}

impl JwtUser {
    /// The text of a `.creds` file.
    ///
    /// # Errors
    /// When the key has no seed.
    pub fn creds(&self) -> Result<String> {
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n",
            self.jwt,
            self.key.seed()?
        ))
    }
}

fn claims(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> Result<String> {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": subject.public_key(), "iat": now(), "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats
    });
    let signed = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(body.to_string())
    );
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", encoded(signature)))
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
