//! Replication and SQL connections against servers set up for each way of authenticating and each
//! kind of TLS: what must work works, and what must not is refused with the error that says why.

use std::path::Path;

use walcast::net::{AuthMethod, ConnectConfig, ConnectError, connect_replication, sql_connect};
use walcast::{Error, ErrorKind};

use crate::support::{
    Authority, Impostor, Issued, Primary, PrimaryBuilder, Server, Signature, Trick, self_signed,
    skip, version_1, write_private,
};

const LOCAL: &[&str] = &["localhost", "127.0.0.1"];

const ROLES: &str = "
    CREATE ROLE trusted LOGIN REPLICATION;
    CREATE ROLE clear LOGIN REPLICATION PASSWORD 'open sesame';
    CREATE ROLE scram LOGIN REPLICATION PASSWORD 'pa:ss/wörd@';
    CREATE ROLE cert LOGIN REPLICATION;
    CREATE ROLE doubly LOGIN REPLICATION PASSWORD 'and a certificate';
    CREATE ROLE bare LOGIN REPLICATION;
    CREATE ROLE covered LOGIN REPLICATION;
    CREATE ROLE plain LOGIN PASSWORD 'x';
    SET password_encryption = 'md5';
    CREATE ROLE old LOGIN REPLICATION PASSWORD 'md5 it is';";

const HBA: &[&str] = &[
    "host all trusted,plain 127.0.0.1/32 trust",
    "host all clear 127.0.0.1/32 password",
    "host all old 127.0.0.1/32 md5",
    "host all scram 127.0.0.1/32 scram-sha-256",
    "hostssl all doubly 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
    "hostssl all cert 127.0.0.1/32 cert",
    "hostnossl all bare 127.0.0.1/32 trust",
    "hostssl all covered 127.0.0.1/32 trust",
    "local all all scram-sha-256",
];

fn with_access_rules() -> PrimaryBuilder {
    HBA.iter().fold(Primary::builder(), |builder, line| builder.hba(line))
}

fn with_tls(builder: PrimaryBuilder, own: &Issued, client_authority: &Authority) -> PrimaryBuilder {
    builder
        .setting("ssl", "on")
        .setting("ssl_ca_file", "clients.crt")
        .file("server.crt", own.certificate.as_str(), 0o600)
        .file("server.key", own.key.as_str(), 0o600)
        .file("clients.crt", client_authority.root_pem(), 0o600)
}

/// A server with TLS and every access rule, and the authority of everybody's certificates.
fn secured(signature: Signature, names: &[&str]) -> (Primary, Authority) {
    let authority = Authority::new(signature);
    let primary = with_tls(with_access_rules(), &authority.server(names), &authority).start();
    primary.sql(ROLES);
    (primary, authority)
}

fn config(primary: &Primary, settings: &str) -> ConnectConfig {
    let place = format!("host=localhost hostaddr=127.0.0.1 port={}", primary.port());
    format!("{place} dbname=postgres {settings}").parse().unwrap()
}

/// How the server sees both kinds of connection: whether they use TLS. Both must agree.
async fn connected(primary: &Primary, config: &ConnectConfig) -> Result<bool, ConnectError> {
    let replication = connect_replication(config).await;
    let sql = sql_connect(config).await;
    let (replication, sql) = match (replication, sql) {
        (Ok(replication), Ok(sql)) => (replication, sql),
        (Err(replication), Err(sql)) => {
            assert_eq!(
                std::mem::discriminant(&replication),
                std::mem::discriminant(&sql),
                "replication: {replication:?}, SQL: {sql:?}"
            );
            return Err(replication);
        }
        (replication, sql) => panic!("only one connects: {replication:?}, {sql:?}"),
    };
    let tls_of = |pid: i32| {
        let query = format!("SELECT ssl::text FROM pg_stat_ssl WHERE pid = {pid}");
        primary.query_one_text(&query).expect("the session is there") == "true"
    };
    let tls = tls_of(replication.cancel_key.pid);
    assert_eq!(tls, replication.stream.is_tls());
    assert_eq!(tls, tls_of(sql.pid()));
    let one: i32 = sql.query_one("SELECT 1", &[]).await.unwrap().get(0);
    assert_eq!(one, 1);
    sql.close().await;
    Ok(tls)
}

async fn refused(primary: &Primary, settings: &str) -> ConnectError {
    match connected(primary, &config(primary, settings)).await {
        Ok(_) => panic!("{settings:?} connects"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn each_password_method_takes_the_right_password_only() {
    let (primary, _authority) = secured(Signature::Ecdsa256, LOCAL);
    for (user, password) in
        [("clear", "open sesame"), ("old", "md5 it is"), ("scram", "pa:ss/wörd@")]
    {
        for mode in ["disable", "require"] {
            let settings = format!("user={user} sslmode={mode}");
            let right = config(&primary, &settings).password(password);
            assert_eq!(connected(&primary, &right).await.unwrap(), mode == "require", "{settings}");

            let wrong = config(&primary, &settings).password("hunter2");
            let error = connected(&primary, &wrong).await.unwrap_err();
            let named =
                matches!(&error, ConnectError::PasswordRefused { user: u, .. } if u == user);
            assert!(named, "{error:?}");
            assert!(!format!("{error:?} {error}").contains("hunter2"));
            let error = Error::from(error);
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Auth, false));
        }
    }
}

#[tokio::test]
async fn a_missing_password_is_said_with_the_place_looked_at() {
    let (primary, authority) = secured(Signature::Ecdsa256, LOCAL);
    let nowhere = authority.root().with_file_name("nowhere");
    let settings = format!("user=scram passfile={}", nowhere.display());
    let error = Error::from(refused(&primary, &settings).await);
    assert!(error.to_string().contains("no password file"), "{error}");
    assert!(error.to_string().contains(".pgpass"), "{error}");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Auth, false));
}

#[tokio::test]
async fn require_auth_and_channel_binding_refuse_before_anything_is_sent() {
    let (primary, _authority) = secured(Signature::Ecdsa256, LOCAL);
    let error =
        refused(&primary, "user=clear password='open sesame' require_auth=scram-sha-256").await;
    let method = AuthMethod::Password;
    assert!(
        matches!(&error, ConnectError::AuthMethodRefused { method: m, .. } if *m == method),
        "{error:?}"
    );
    let trusting = refused(&primary, "user=trusted require_auth=!none").await;
    assert!(matches!(trusting, ConnectError::AuthMethodRefused { .. }), "{trusting:?}");
    for unbound in [
        "user=clear password='open sesame' channel_binding=require",
        "user=old password='md5 it is' channel_binding=require",
        "user=trusted channel_binding=require",
        "user=scram password=pa:ss/wörd@ channel_binding=require sslmode=disable",
    ] {
        let error = refused(&primary, unbound).await;
        assert!(matches!(error, ConnectError::NoChannelBinding { .. }), "{unbound}: {error:?}");
    }
}

#[tokio::test]
async fn scram_binds_to_the_certificate_whatever_it_is_signed_with() {
    for signature in
        [Signature::Ecdsa256, Signature::Ecdsa384, Signature::Rsa256, Signature::Rsa512]
    {
        let (primary, _authority) = secured(signature, LOCAL);
        for binding in ["require", "prefer", "disable"] {
            let settings = format!(
                "user=scram password=pa:ss/wörd@ sslmode=require channel_binding={binding}"
            );
            let tls = connected(&primary, &config(&primary, &settings)).await;
            assert!(tls.unwrap_or_else(|error| panic!("{signature:?} {binding}: {error:?}")));
        }
    }
}

#[tokio::test]
async fn a_certificate_without_a_hash_has_no_binding() {
    let (primary, _authority) = secured(Signature::Ed25519, LOCAL);
    let preferred = config(&primary, "user=scram password=pa:ss/wörd@ sslmode=require");
    assert!(connected(&primary, &preferred).await.unwrap());
    let error = refused(
        &primary,
        "user=scram password=pa:ss/wörd@ sslmode=require channel_binding=require",
    )
    .await;
    assert!(matches!(error, ConnectError::NoChannelBinding { .. }), "{error:?}");
}

#[tokio::test]
async fn each_tls_mode_accepts_what_it_promises() {
    let (primary, authority) = secured(Signature::Ecdsa256, LOCAL);
    let root = authority.root();
    let trusted = format!("sslrootcert={}", root.display());
    for (settings, tls) in [
        ("sslmode=disable".to_owned(), false),
        ("sslmode=allow".to_owned(), false),
        ("sslmode=prefer".to_owned(), true),
        ("sslmode=require".to_owned(), true),
        ("sslmode=require ssl_min_protocol_version=TLSv1.3 sslsni=0".to_owned(), true),
        (format!("sslmode=require {trusted}"), true),
        (format!("sslmode=verify-ca {trusted}"), true),
        (format!("sslmode=verify-full {trusted}"), true),
    ] {
        let config = config(&primary, &format!("user=trusted {settings}"));
        assert_eq!(connected(&primary, &config).await.unwrap(), tls, "{settings}");
    }
    // By address, without a name.
    let by_address = format!(
        "host=127.0.0.1 port={} user=trusted dbname=postgres sslmode=verify-full {trusted}",
        primary.port()
    );
    assert!(connected(&primary, &by_address.parse().unwrap()).await.unwrap());
    // A root certificate given by the program is never silently unused.
    assert!(connected(&primary, &config(&primary, "user=trusted").root_cert(root)).await.unwrap());
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_name_is_refused() {
    let (primary, authority) = secured(Signature::Ecdsa256, &["db.example"]);
    let stranger = Authority::named("stranger", Signature::Ecdsa256);
    let namesake = Authority::new(Signature::Ecdsa256);
    let [ours, theirs, forged] =
        [&authority, &stranger, &namesake].map(|a| a.root().display().to_string());
    let refused_for = async |settings: String, reason: &str| {
        let error = refused(&primary, &format!("user=trusted {settings}")).await;
        assert!(matches!(error, ConnectError::Certificate { .. }), "{settings}: {error:?}");
        assert!(error.to_string().contains(reason), "{error}");
        let error = Error::from(error);
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Tls, false));
    };
    let unknown = "no trusted authority";
    refused_for(format!("sslmode=require sslrootcert={theirs}"), unknown).await;
    refused_for(format!("sslmode=verify-ca sslrootcert={theirs}"), unknown).await;
    refused_for(format!("sslmode=verify-full sslrootcert={theirs}"), unknown).await;
    refused_for(format!("sslmode=verify-ca sslrootcert={forged}"), unknown).await;
    refused_for("sslrootcert=system".to_owned(), unknown).await;
    refused_for(format!("sslmode=verify-full sslrootcert={ours}"), "db.example").await;
    // The authority alone is enough for verify-ca, and no certificate is checked below that.
    for mode in [format!("sslmode=verify-ca sslrootcert={ours}"), "sslmode=require".to_owned()] {
        let config = config(&primary, &format!("user=trusted {mode}"));
        assert!(connected(&primary, &config).await.unwrap(), "{mode}");
    }
    let rootless = refused(&primary, "user=trusted sslmode=verify-ca").await;
    assert!(matches!(rootless, ConnectError::NoRootCertificate { .. }), "{rootless:?}");
    let missing = refused(&primary, "user=trusted sslmode=verify-ca sslrootcert=/nowhere").await;
    assert!(matches!(missing, ConnectError::TlsFile { .. }), "{missing:?}");
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_root() {
    let (own, authority) = (self_signed(LOCAL), Authority::new(Signature::Ecdsa256));
    let primary = with_tls(with_access_rules(), &own, &authority).start();
    primary.sql(ROLES);
    let root = authority.file("server.crt", &own.certificate);
    let settings = format!("user=trusted sslmode=verify-full sslrootcert={}", root.display());
    assert!(connected(&primary, &config(&primary, &settings)).await.unwrap());
}

#[tokio::test]
async fn a_certificate_of_version_1_encrypts_and_proves_nothing_more() {
    let authority = Authority::new(Signature::Ecdsa256);
    let own = version_1();
    let primary = with_tls(with_access_rules(), &own, &authority).start();
    primary.sql(ROLES);
    for settings in ["user=trusted sslmode=prefer", "user=trusted sslmode=require"] {
        assert!(connected(&primary, &config(&primary, settings)).await.unwrap(), "{settings}");
    }
    let bound = "user=scram password=pa:ss/wörd@ sslmode=require channel_binding=require";
    assert!(connected(&primary, &config(&primary, bound)).await.unwrap());
    let root = authority.file("server.crt", &own.certificate);
    let pinned = format!("user=trusted sslmode=verify-ca sslrootcert={}", root.display());
    assert!(connected(&primary, &config(&primary, &pinned)).await.unwrap());
    let named = format!("user=trusted sslmode=verify-full sslrootcert={}", root.display());
    let error = refused(&primary, &named).await;
    assert!(matches!(error, ConnectError::Certificate { .. }), "{error:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new(Signature::Ecdsa256);
    let own = authority.expired_server(LOCAL);
    let primary = with_tls(with_access_rules(), &own, &authority).start();
    primary.sql(ROLES);
    let root = authority.root();
    let settings = format!("user=trusted sslmode=verify-ca sslrootcert={}", root.display());
    let error = refused(&primary, &settings).await;
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(error.fix().unwrap().contains("renew"));
}

fn client_files(authority: &Authority, directory: &Path, role: &str) -> String {
    let issued = authority.client(role);
    let (cert, key) =
        (directory.join(format!("{role}.crt")), directory.join(format!("{role}.key")));
    write_private(&cert, &issued.certificate);
    write_private(&key, &issued.key);
    format!("sslcert={} sslkey={}", cert.display(), key.display())
}

#[tokio::test]
async fn client_certificates_stand_for_roles() {
    let (primary, authority) = secured(Signature::Ecdsa256, LOCAL);
    let directory = tempfile::tempdir().unwrap();
    let ours = client_files(&authority, directory.path(), "cert");
    let with = |user: &str, files: &str| format!("user={user} sslmode=require {files}");
    assert!(connected(&primary, &config(&primary, &with("cert", &ours))).await.unwrap());

    let both = client_files(&authority, directory.path(), "doubly");
    let both = config(&primary, &with("doubly", &both)).password("and a certificate");
    assert!(connected(&primary, &both).await.unwrap());

    for missing_or_wrong in [with("cert", ""), with("doubly", &ours)] {
        let error = refused(&primary, &missing_or_wrong).await;
        let expected = matches!(
            error,
            ConnectError::NotPermitted { .. }
                | ConnectError::PasswordRefused { .. }
                | ConnectError::NoPassword { .. }
        );
        assert!(expected, "{missing_or_wrong}: {error:?}");
    }
    for name in ["stranger", "walcast test authority"] {
        let stranger = Authority::named(name, Signature::Ecdsa256);
        let strange = client_files(&stranger, directory.path(), "cert");
        let error = refused(&primary, &with("cert", &strange)).await;
        assert!(matches!(error, ConnectError::ClientCertificate { .. }), "{error:?}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Tls);
    }
}

#[tokio::test]
async fn a_client_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let (primary, authority) = secured(Signature::Ecdsa256, LOCAL);
    let directory = tempfile::tempdir().unwrap();
    let files = client_files(&authority, directory.path(), "cert");
    let key = directory.path().join("cert.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let error = refused(&primary, &format!("user=cert sslmode=require {files}")).await;
    assert!(matches!(error, ConnectError::TlsFile { .. }), "{error:?}");
    assert!(error.fix().unwrap().contains("chmod"));
    let keyless = files.split(" sslkey").next().unwrap();
    let error = refused(&primary, &format!("user=cert sslmode=require {keyless}")).await;
    assert!(matches!(error, ConnectError::Settings(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_or_taken_as_it_is() {
    let primary = with_access_rules().start();
    primary.sql(ROLES);
    for mode in ["require", "verify-full"] {
        let error = refused(&primary, &format!("user=trusted sslmode={mode}")).await;
        assert!(matches!(error, ConnectError::TlsRefused { .. }), "{error:?}");
        let error = Error::from(error);
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Tls, false));
    }
    for mode in ["prefer", "allow", "disable"] {
        let config = config(&primary, &format!("user=trusted sslmode={mode}"));
        assert!(!connected(&primary, &config).await.unwrap(), "{mode}");
    }
}

#[tokio::test]
async fn prefer_and_allow_change_over_where_the_server_wants_the_other() {
    let (primary, _authority) = secured(Signature::Ecdsa256, LOCAL);
    for (settings, tls) in [
        ("user=bare sslmode=prefer", false),
        ("user=covered sslmode=allow", true),
        ("user=covered sslmode=prefer", true),
        ("user=bare sslmode=allow", false),
    ] {
        assert_eq!(connected(&primary, &config(&primary, settings)).await.unwrap(), tls);
    }
    for settings in ["user=bare sslmode=require", "user=covered sslmode=disable"] {
        let error = refused(&primary, settings).await;
        assert!(matches!(error, ConnectError::NotPermitted { .. }), "{error:?}");
        assert!(error.fix().unwrap().contains("pg_hba.conf"));
    }
}

#[tokio::test]
async fn somebody_in_between_is_noticed() {
    let (primary, authority) = secured(Signature::Ecdsa256, LOCAL);
    let stranger = Authority::new(Signature::Ecdsa256);
    let through = async |trick: Trick, settings: &str| {
        let own = stranger.server(LOCAL);
        let impostor = Impostor::before(primary.port(), &authority, own, trick).await;
        let text = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres user=scram {settings}",
            impostor.port
        );
        let config: ConnectConfig = text.parse().unwrap();
        connect_replication(&config.password("pa:ss/wörd@")).await
    };
    let denied = through(Trick::DenyTls, "sslmode=require").await.unwrap_err();
    assert!(matches!(denied, ConnectError::TlsRefused { .. }), "{denied:?}");
    let denied = through(Trick::DenyTls, "sslmode=prefer channel_binding=require").await;
    assert!(matches!(denied, Err(ConnectError::NoChannelBinding { .. })), "{denied:?}");

    let root = format!("sslmode=verify-ca sslrootcert={}", authority.root().display());
    let forged = through(Trick::Relay, &root).await.unwrap_err();
    assert!(matches!(forged, ConnectError::Certificate { .. }), "{forged:?}");

    // Without a checked certificate the binding alone gives the relay away.
    let relayed = through(Trick::Relay, "sslmode=require").await.unwrap_err();
    let noticed =
        matches!(&relayed, ConnectError::Server { .. } | ConnectError::NotPermitted { .. });
    assert!(noticed && relayed.to_string().contains("channel binding"), "{relayed:?}");
    let stripped = through(Trick::RelayWithoutPlus, "sslmode=require").await.unwrap_err();
    assert!(stripped.to_string().contains("channel binding"), "{stripped:?}");
    let stripped =
        through(Trick::RelayWithoutPlus, "sslmode=require channel_binding=require").await;
    assert!(matches!(stripped, Err(ConnectError::NoChannelBinding { .. })), "{stripped:?}");
    let offered = through(Trick::DenyTlsButOfferPlus, "sslmode=prefer").await.unwrap_err();
    assert!(matches!(offered, ConnectError::ServerNotAuthentic { .. }), "{offered:?}");
}

#[tokio::test]
async fn tls_begins_directly_where_the_server_can() {
    let authority = Authority::new(Signature::Ecdsa256);
    let own = authority.server(LOCAL);
    let direct = format!(
        "user=scram password=pa:ss/wörd@ sslmode=verify-full sslnegotiation=direct \
         channel_binding=require sslrootcert={}",
        authority.root().display()
    );
    match Server::installed().iter().find(|server| server.major >= 17) {
        Some(server) => {
            let builder = with_tls(with_access_rules(), &own, &authority);
            let primary = builder.start_on(server.clone());
            primary.sql(ROLES);
            assert!(connected(&primary, &config(&primary, &direct)).await.unwrap());
            let sql = sql_connect(&config(&primary, &direct)).await.unwrap();
            let row = sql.query_one("SHOW transaction_timeout", &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), "0");
        }
        None => skip("direct TLS needs a server of PostgreSQL 17 or newer"),
    }
    if let Some(server) = Server::installed().iter().find(|server| server.major < 17) {
        let primary = with_tls(with_access_rules(), &own, &authority).start_on(server.clone());
        primary.sql(ROLES);
        let error = refused(&primary, &direct).await;
        let broken = matches!(error, ConnectError::BrokenOff { .. } | ConnectError::Tls { .. });
        assert!(broken, "{error:?}");
    }
}

#[tokio::test]
async fn a_role_without_the_right_and_a_database_that_is_not_there_are_named() {
    let (primary, _authority) = secured(Signature::Ecdsa256, LOCAL);
    let unable = config(&primary, "user=plain");
    let error = connect_replication(&unable).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotPermitted { .. }), "{error:?}");
    let error = Error::from(error);
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Permission, false));
    assert_eq!(error.fix(), Some("ALTER ROLE \"plain\" REPLICATION"));
    sql_connect(&unable).await.unwrap();

    let missing = refused(&primary, "user=trusted dbname=nowhere").await;
    assert!(
        matches!(&missing, ConnectError::DatabaseMissing { database, .. } if database == "nowhere")
    );
    let unknown = refused(&primary, "user=nobody").await;
    assert!(matches!(unknown, ConnectError::NotPermitted { .. }), "{unknown:?}");
}
