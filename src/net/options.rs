//! The choices among connection settings, each a type of its own.
//!
//! Their spellings are libpq's. What a choice does is told where it is carried out.

use super::settings_error::SettingsError;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $parameter:literal, $allowed:literal,
     { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The choice as it is written in settings.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = SettingsError;

            fn from_str(text: &str) -> Result<Self, SettingsError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(SettingsError::Value { name: $parameter, allowed: $allowed }),
                }
            }
        }
    };
}

choice!(
    /// How much TLS is asked of a TCP connection. Over a Unix-domain socket TLS is never used.
    SslMode, "sslmode", "disable, allow, prefer, require, verify-ca or verify-full", {
        /// Never use TLS.
        Disable = "disable",
        /// Use TLS only where the server does not let us in without.
        Allow = "allow",
        /// Use TLS where the server has it, and go on without where that fails. Protects from
        /// nobody who can change what travels.
        Prefer = "prefer",
        /// Use TLS or fail. The certificate is checked only where a root certificate is given.
        Require = "require",
        /// And check that a trusted authority issued the certificate.
        VerifyCa = "verify-ca",
        /// And check that it was issued for the host that we connect to.
        VerifyFull = "verify-full",
    }
);
choice!(
    /// How TLS begins.
    SslNegotiation, "sslnegotiation", "postgres or direct", {
        /// Ask in PostgreSQL's protocol first; every server understands that.
        Postgres = "postgres",
        /// Begin with the TLS handshake: one round trip less, PostgreSQL 17 and newer.
        Direct = "direct",
    }
);
choice!(
    /// Which of several servers will do.
    TargetSessionAttrs, "target_session_attrs",
    "any, read-write, read-only, primary, standby or prefer-standby", {
        /// Any.
        Any = "any",
        /// One whose sessions can write: neither a standby nor set to read only.
        ReadWrite = "read-write",
        /// One whose sessions cannot write.
        ReadOnly = "read-only",
        /// One that is not a standby.
        Primary = "primary",
        /// A standby.
        Standby = "standby",
        /// A standby, or any if none can be reached.
        PreferStandby = "prefer-standby",
    }
);
choice!(
    /// Whether the password exchange is tied to the TLS session, so that nobody in between can
    /// relay it.
    ChannelBinding, "channel_binding", "disable, prefer or require", {
        /// Never.
        Disable = "disable",
        /// Where the server offers it.
        Prefer = "prefer",
        /// Always, or fail.
        Require = "require",
    }
);

/// A way of proving who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The server asked for no proof in the protocol (`trust`, `peer`, `cert`).
    None,
    /// The password itself.
    Password,
    /// A salted MD5 hash of the password.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    ScramSha256,
    /// Kerberos or SSPI.
    Gss,
    /// Another SASL mechanism.
    Sasl,
}

impl AuthMethod {
    /// The method as `require_auth` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
            Self::Gss => "gss",
            Self::Sasl => "sasl",
        }
    }
}

impl std::fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which ways of proving who we are the server may ask for (`require_auth`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum AuthPolicy {
    #[default]
    Any,
    OnlyThese(Vec<AuthMethod>),
    NoneOfThese(Vec<AuthMethod>),
}

impl AuthPolicy {
    pub(super) fn allows(&self, method: AuthMethod) -> bool {
        match self {
            Self::Any => true,
            Self::OnlyThese(methods) => methods.contains(&method),
            Self::NoneOfThese(methods) => !methods.contains(&method),
        }
    }
}

impl std::str::FromStr for AuthPolicy {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let bad = SettingsError::Value {
            name: "require_auth",
            allowed: "a list of password, md5, scram-sha-256 and none, either all with a '!' or none",
        };
        if text.is_empty() {
            return Ok(Self::Any);
        }
        let (mut methods, mut negated) = (Vec::new(), 0);
        for word in text.split(',').map(str::trim) {
            let name = word.strip_prefix('!');
            negated += usize::from(name.is_some());
            methods.push(match name.unwrap_or(word) {
                "none" => AuthMethod::None,
                "password" => AuthMethod::Password,
                "md5" => AuthMethod::Md5,
                "scram-sha-256" => AuthMethod::ScramSha256,
                "gss" | "sspi" => AuthMethod::Gss,
                _ => return Err(bad),
            });
        }
        match negated {
            0 => Ok(Self::OnlyThese(methods)),
            n if n == methods.len() => Ok(Self::NoneOfThese(methods)),
            _ => Err(bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_written() {
        for text in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(text.parse::<SslMode>().unwrap().as_str(), text);
        }
        let error = "verify_full".parse::<SslMode>().unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }

    #[test]
    fn the_auth_policy_is_a_list_for_or_a_list_against() {
        let only: AuthPolicy = "scram-sha-256, none".parse().unwrap();
        assert!(only.allows(AuthMethod::ScramSha256) && !only.allows(AuthMethod::Password));
        let not: AuthPolicy = "!password,!md5".parse().unwrap();
        assert!(not.allows(AuthMethod::ScramSha256) && !not.allows(AuthMethod::Md5));
        assert!("md5,!none".parse::<AuthPolicy>().is_err());
    }
}
