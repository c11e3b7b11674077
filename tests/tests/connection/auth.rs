//! Every way to authenticate, and its refusal.

use std::path::PathBuf;

use anyhow::Result;
use nkeys::KeyPair;
use wharf::config::{Auth, ConnectionSettings, Secret};
use wharf::{ConnectError, ConnectionState, Connector};
use wharf_tests::{Operator, TestServer, soon};

const USER: &str = "authorization { user: me, password: \"p@ss/word\" }";

fn user(password: &str) -> Auth {
    Auth::UserPassword {
        username: "me".into(),
        password: Secret::new(password),
    }
}

/// Connects, and proves it by a round trip.
async fn connect(server: &TestServer, auth: Auth) -> Result<Connector> {
    let connector = Connector::connect(ConnectionSettings {
        auth,
        ..server.settings()
    })
    .await?;
    connector.flush_published().await?;
    Ok(connector)
}

/// Why the server does not let us in.
async fn refusal(server: &TestServer, auth: Auth) -> String {
    let settings = ConnectionSettings {
        auth,
        ..server.settings()
    };
    match Connector::connect(settings)
        .await
        .expect_err("the server lets nobody in")
    {
        error @ ConnectError::Refused(_) => {
            let text = error.to_string();
            assert!(text.contains(&server.url()), "it names the server: {text}");
            text
        }
        other => panic!("the server was not asked: {other}"),
    }
}

/// Why a file is of no use.
async fn unusable(auth: Auth) -> String {
    let settings = ConnectionSettings {
        auth,
        filter: wharf_tests::filter(),
        ..ConnectionSettings::default()
    };
    match Connector::connect(settings)
        .await
        .expect_err("the file is of no use")
    {
        error @ ConnectError::File { .. } => error.to_string(),
        other => panic!("the file is not the reason: {other}"),
    }
}

/// A file with this text, in the server's directory.
fn file(server: &TestServer, name: &str, text: &str) -> Result<PathBuf> {
    let path = server.directory().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

#[tokio::test]
async fn a_token_opens_the_door_and_another_does_not() -> Result<()> {
    let server = TestServer::start("authorization { token: s3cret }").await?;
    connect(&server, Auth::Token(Secret::new("s3cret"))).await?;
    let text = refusal(&server, Auth::Token(Secret::new("wr0ng"))).await;
    assert!(
        text.contains("does not let us in with this token") && !text.contains("wr0ng"),
        "{text}"
    );
    let text = refusal(&server, Auth::None).await;
    assert!(
        text.contains("does not let us in without credentials"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_user_needs_the_right_password() -> Result<()> {
    let server = TestServer::start(USER).await?;
    connect(&server, user("p@ss/word")).await?;
    let text = refusal(&server, user("wr0ng")).await;
    assert!(
        text.contains("as user 'me' with this password") && !text.contains("wr0ng"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_user_in_the_servers_address_counts_unless_the_settings_name_another_way() -> Result<()> {
    let server = TestServer::start(USER).await?;
    let with = |user: &str, auth: Auth| ConnectionSettings {
        servers: format!("nats://{user}@{}", server.address()).into(),
        auth,
        ..server.settings()
    };
    Connector::connect(with("me:p%40ss%2Fword", Auth::None))
        .await?
        .flush_published()
        .await?;
    let error = Connector::connect(with("me:p%40ss%2Fword", user("wr0ng")))
        .await
        .expect_err("the settings win");
    assert!(
        error.to_string().contains(&server.url()),
        "the address without its user: {error}"
    );
    Connector::connect(with("me:wr0ng", user("p@ss/word")))
        .await?
        .flush_published()
        .await?;
    let error = Connector::connect(with("me:wr0ng", Auth::None))
        .await
        .expect_err("the wrong password")
        .to_string();
    assert!(!error.contains("wr0ng"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_nkey_is_taken_from_its_file() -> Result<()> {
    let (known, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        known.public_key()
    );
    let server = TestServer::start(&config).await?;
    let seed = file(
        &server,
        "app.nk",
        &format!("-- a note --\n{}\n", known.seed()?),
    )?;
    connect(&server, Auth::NkeyFile(seed)).await?;
    let seed = file(&server, "other.nk", &unknown.seed()?)?;
    let text = refusal(&server, Auth::NkeyFile(seed)).await;
    assert!(
        text.contains("with the NKey file") && !text.contains(&unknown.seed()?),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_file_without_a_key_is_named_with_what_it_lacks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let missing = directory.path().join("missing");
    let text = unusable(Auth::NkeyFile(missing.clone())).await;
    assert!(
        text.contains("the NKey file") && text.contains("missing") && text.contains("No such file"),
        "{text}"
    );
    let text = unusable(Auth::Credentials(missing)).await;
    assert!(
        text.contains("the credentials file") && text.contains("No such file"),
        "{text}"
    );
    let text = unusable(Auth::NkeyFile(write(
        "public.nk",
        &KeyPair::new_user().public_key(),
    )?))
    .await;
    assert!(text.contains("no line 'SU…'"), "{text}");
    let seed = KeyPair::new_user().seed()?;
    let text = unusable(Auth::NkeyFile(write("short.nk", &seed[..20])?)).await;
    assert!(
        text.contains("seed is not valid") && !text.contains(&seed[..20]),
        "{text}"
    );
    let text = unusable(Auth::Credentials(write("empty.creds", "")?)).await;
    assert!(text.contains("no block 'NATS USER JWT'"), "{text}");
    let no_seed = "-----BEGIN NATS USER JWT-----\neyJ0.e30.c2ln\n------END NATS USER JWT------\n";
    let text = unusable(Auth::Credentials(write("half.creds", no_seed)?)).await;
    assert!(text.contains("no block 'USER NKEY SEED'"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_credentials_file_proves_a_user_of_the_servers_operator() -> Result<()> {
    let operator = Operator::default();
    let server = TestServer::start(&operator.config(&[])?).await?;
    let creds = file(&server, "app.creds", &operator.user()?.creds()?)?;
    connect(&server, Auth::Credentials(creds)).await?;
    let stranger = file(
        &server,
        "stranger.creds",
        &Operator::default().user()?.creds()?,
    )?;
    let text = refusal(&server, Auth::Credentials(stranger)).await;
    assert!(
        text.contains("with the credentials file") && text.contains("stranger.creds"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_credentials_file_that_was_renewed_is_used_to_reconnect() -> Result<()> {
    let operator = Operator::default();
    let mut server = TestServer::start(&operator.config(&[])?).await?;
    let (old, new) = (operator.user()?, operator.user()?);
    let creds = file(&server, "app.creds", &old.creds()?)?;
    let connector = connect(&server, Auth::Credentials(creds)).await?;
    file(&server, "app.creds", &new.creds()?)?;
    server.stop().await?;
    server.configure(&operator.config(&[&old])?)?;
    server.start_again().await?;
    let mut state = connector.state();
    soon(
        "it is back",
        state.wait_for(|_| connector.counters().connects == 2),
    )
    .await??;
    connector.flush_published().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_us_twice_on_reconnect_is_given_up() -> Result<()> {
    let mut server = TestServer::start("authorization { token: before }").await?;
    let settings = ConnectionSettings {
        auth: Auth::Token(Secret::new("before")),
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    server.stop().await?;
    server.configure("authorization { token: after }")?;
    server.start_again().await?;
    let mut state = connector.state();
    let lost = soon(
        "it is lost",
        state.wait_for(|state| matches!(state, ConnectionState::Lost(_))),
    )
    .await??;
    assert!(
        format!("{:?}", *lost).contains("does not let us in any more"),
        "{:?}",
        *lost
    );
    Ok(())
}
