//! Proving who we are, and having the server prove that it knows us.
//!
//! Carries out what the server asks for after the startup message: nothing, the password, an MD5
//! hash, or SCRAM-SHA-256 with or without channel binding
//! (<https://www.postgresql.org/docs/current/sasl-authentication.html>). Refuses what
//! `require_auth` and `channel_binding` rule out before anything secret is sent, and a server that
//! ends a SCRAM exchange without its own proof.

use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::blocking::blocking;
use super::config::ConnectConfig;
use super::dialogue::Dialogue;
use super::endpoint::Host;
use super::error::ConnectError;
use super::options::{AuthMethod, ChannelBinding};
use super::passfile::{self, Wanted};
use crate::name::Secret;
use crate::wire::ServerError;

/// Answer the server until it says that we are in.
pub(super) async fn authenticate(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
) -> Result<(), ConnectError> {
    match dialogue.receive().await? {
        Message::AuthenticationOk => return check_method(dialogue, config, AuthMethod::None),
        Message::AuthenticationCleartextPassword => {
            check_method(dialogue, config, AuthMethod::Password)?;
            let password = password(dialogue, config).await?;
            send_password(dialogue, password.expose().as_bytes()).await?;
        }
        Message::AuthenticationMd5Password(body) => {
            check_method(dialogue, config, AuthMethod::Md5)?;
            let password = password(dialogue, config).await?;
            let user = config.user().as_bytes();
            let hash = md5_hash(user, password.expose().as_bytes(), body.salt());
            send_password(dialogue, hash.as_bytes()).await?;
        }
        Message::AuthenticationSasl(body) => scram(dialogue, config, &body).await?,
        Message::AuthenticationGss
        | Message::AuthenticationSspi
        | Message::AuthenticationKerberosV5 => {
            return Err(unsupported(dialogue, AuthMethod::Gss));
        }
        Message::ErrorResponse(body) => return Err(refused(dialogue, config, (&body).into())),
        _ => return Err(dialogue.unexpected("no authentication request after the startup message")),
    }
    match dialogue.receive().await? {
        Message::AuthenticationOk => Ok(()),
        Message::ErrorResponse(body) => Err(refused(dialogue, config, (&body).into())),
        _ => Err(dialogue.unexpected("no answer to the authentication")),
    }
}

/// The error for what the server reports before it is ready.
pub(super) fn refused(
    dialogue: &Dialogue,
    config: &ConnectConfig,
    server: ServerError,
) -> ConnectError {
    ConnectError::refused(&dialogue.at, config.user(), config.database(), server)
}

fn unsupported(dialogue: &Dialogue, method: AuthMethod) -> ConnectError {
    ConnectError::AuthMethodUnsupported { at: dialogue.at.clone(), method }
}

/// Refuse a method before it is begun: all but SCRAM leave the exchange unbound.
fn check_method(
    dialogue: &Dialogue,
    config: &ConnectConfig,
    method: AuthMethod,
) -> Result<(), ConnectError> {
    let at = || dialogue.at.clone();
    if !config.require_auth.allows(method) {
        return Err(ConnectError::AuthMethodRefused { at: at(), method });
    }
    if config.channel_binding == ChannelBinding::Require && method != AuthMethod::ScramSha256 {
        let why = "the server asks for an authentication that has none";
        return Err(ConnectError::NoChannelBinding { at: at(), why });
    }
    Ok(())
}

async fn password(dialogue: &Dialogue, config: &ConnectConfig) -> Result<Secret, ConnectError> {
    if let Some(password) = &config.password {
        return Ok(password.clone());
    }
    if let Some(password) = std::env::var("PGPASSWORD").ok().filter(|value| !value.is_empty()) {
        return Ok(Secret::new(password));
    }
    let wanted = Wanted {
        host: dialogue.at.name(),
        is_socket: matches!(dialogue.at.host, Host::Unix(_)),
        port: dialogue.at.port,
        database: config.database().to_owned(),
        user: config.user().to_owned(),
    };
    let explicit = config.passfile.clone();
    let (at, user) = (dialogue.at.clone(), config.user().to_owned());
    blocking(move || passfile::look_up(explicit, &wanted))
        .await
        .map_err(|looked| ConnectError::NoPassword { at, user, looked })
}

async fn send_password(dialogue: &mut Dialogue, password: &[u8]) -> Result<(), ConnectError> {
    dialogue.send(|buffer| frontend::password_message(password, buffer)).await
}

/// ```text
/// us                                   server
///  │◄─────────── AuthenticationSASL ───────┤  mechanisms
///  ├─ SASLInitialResponse ────────────────►│  nonce, what the exchange is bound to
///  │◄─────────── AuthenticationSASLContinue┤  salt, iterations
///  ├─ SASLResponse ───────────────────────►│  our proof
///  │◄─────────── AuthenticationSASLFinal ──┤  its proof: checked before anything else
/// ```
async fn scram(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
    offered: &AuthenticationSaslBody,
) -> Result<(), ConnectError> {
    let (mechanism, binding) = choose_mechanism(dialogue, config, offered)?;
    check_method(dialogue, config, AuthMethod::ScramSha256)?;
    let password = password(dialogue, config).await?;
    let mut exchange = ScramSha256::new(password.expose().as_bytes(), binding);

    let first = exchange.message().to_vec();
    dialogue.send(|buffer| frontend::sasl_initial_response(mechanism, &first, buffer)).await?;
    match dialogue.receive().await? {
        Message::AuthenticationSaslContinue(body) => {
            exchange.update(body.data()).map_err(|error| not_authentic(dialogue, error))?;
        }
        Message::ErrorResponse(body) => return Err(refused(dialogue, config, (&body).into())),
        _ => return Err(dialogue.unexpected("the server left the SCRAM exchange")),
    }
    let second = exchange.message().to_vec();
    dialogue.send(|buffer| frontend::sasl_response(&second, buffer)).await?;
    match dialogue.receive().await? {
        Message::AuthenticationSaslFinal(body) => {
            exchange.finish(body.data()).map_err(|error| not_authentic(dialogue, error))
        }
        Message::ErrorResponse(body) => Err(refused(dialogue, config, (&body).into())),
        _ => Err(dialogue.unexpected("the server ended the SCRAM exchange without its proof")),
    }
}

fn not_authentic(dialogue: &Dialogue, source: io::Error) -> ConnectError {
    ConnectError::ServerNotAuthentic { at: dialogue.at.clone(), source }
}

/// Pick the mechanism, and say to the server what we know of channel binding, so that it notices
/// when somebody in between took its offer away.
fn choose_mechanism(
    dialogue: &Dialogue,
    config: &ConnectConfig,
    offered: &AuthenticationSaslBody,
) -> Result<(&'static str, sasl::ChannelBinding), ConnectError> {
    let (mut plain, mut plus) = (false, false);
    let mut mechanisms = offered.mechanisms();
    while let Some(name) = mechanisms.next().map_err(|error| dialogue.violation(error))? {
        plain |= name == sasl::SCRAM_SHA_256;
        plus |= name == sasl::SCRAM_SHA_256_PLUS;
    }
    if plus && !dialogue.socket.is_tls() {
        // Only somebody who took TLS away between us and the server could make it offer this.
        let why = io::Error::other("it offers channel binding on a connection without TLS");
        return Err(not_authentic(dialogue, why));
    }
    let required = config.channel_binding == ChannelBinding::Require;
    let unbound = |why| {
        let at = dialogue.at.clone();
        if required { Err(ConnectError::NoChannelBinding { at, why }) } else { Ok(()) }
    };
    let binding = match config.channel_binding {
        ChannelBinding::Disable => None,
        _ => dialogue.socket.channel_binding(),
    };
    match binding {
        Some(binding) if plus => {
            let binding = sasl::ChannelBinding::tls_server_end_point(binding);
            Ok((sasl::SCRAM_SHA_256_PLUS, binding))
        }
        _ if !plain => Err(unsupported(dialogue, AuthMethod::Sasl)),
        Some(_) => {
            unbound("the server does not offer it")?;
            Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()))
        }
        None => {
            unbound(match dialogue.socket.is_tls() {
                true => "the server's certificate has a signature without a hash to bind to",
                false => "the connection has no TLS",
            })?;
            Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()))
        }
    }
}
