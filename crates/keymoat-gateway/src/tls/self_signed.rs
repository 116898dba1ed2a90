//! The certificate of a first start: an own authority, kept, and a leaf for this machine, renewed when it must be.
//!
//! The folder then holds `ca.pem` (to be trusted by clients), `ca.key` and `server.pem` (leaf and its key), the latter
//! two readable by their owner only.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keymoat_core::{Secret, UnixMillis};
use keymoat_store::private_file::{self, Readers};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::CertificateError::{Expired, ExpiredContext};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::server::Demands;
use super::{TlsError, provider, server};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority lives; clients trust it once.
const CA_DAYS: u32 = 3650;
/// How long a leaf lives, the day before `now` included: browsers refuse more than 398 days.
const LEAF_DAYS: u32 = 397;
/// A leaf with less time than this is renewed.
const LEAF_DAYS_LEFT_MIN: u32 = 30;

/// A listener's configuration with a certificate that Keymoat issued itself.
#[derive(Clone, Debug)]
pub struct SelfSigned {
    /// The authority's certificate, for clients to trust: an absolute path.
    pub ca_file: PathBuf,
    /// What the listener presents.
    pub config: Arc<ServerConfig>,
    /// The host names and addresses that the certificate is good for.
    pub names: Vec<String>,
}

/// Prepares authority and leaf in the folder `dir`, which is made when it is missing, for this machine's names.
///
/// The authority is kept for as long as it is valid. The leaf is kept while it is valid for 30 more days and good for
/// every name of the machine, and issued anew otherwise.
///
/// # Errors
/// A key that others can read, an authority that has expired or lost its key, and whatever the disk refuses.
pub fn prepare(dir: &Path, now: UnixMillis) -> Result<SelfSigned, TlsError> {
    prepare_demanding(dir, &Demands::default(), now)
}

/// As [`prepare`], for a listener that asks something of its clients.
///
/// # Errors
/// As [`prepare`], and authorities of clients that cannot be read.
pub fn prepare_demanding(dir: &Path, demands: &Demands, now: UnixMillis) -> Result<SelfSigned, TlsError> {
    prepare_for(dir, machine_names(), demands, now)
}

/// Says how clients come to trust the authority, one line each, ready for a shell.
#[must_use]
pub fn trust_hint(ca_file: &Path) -> Vec<String> {
    let path = quoted(ca_file);
    vec![
        format!("Python:       export SSL_CERT_FILE={path}"),
        format!("Node:         export NODE_EXTRA_CA_CERTS={path}"),
        format!("curl:         curl --cacert {path}"),
        format!("Chromium:     certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n keymoat -i {path}"),
        format!(
            "Debian:       sudo cp {path} /usr/local/share/ca-certificates/keymoat.crt && sudo update-ca-certificates"
        ),
        format!(
            "macOS:        sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {path}"
        ),
    ]
}

fn prepare_for(dir: &Path, names: Vec<String>, demands: &Demands, now: UnixMillis) -> Result<SelfSigned, TlsError> {
    private_file::create_folder(dir)?;
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let authority = Authority::open(&dir, now)?;
    let leaf_file = dir.join("server.pem");
    let (chain, key) = match read_leaf(&leaf_file, &authority, &names, now)? {
        Some(pair) => pair,
        None => issue_leaf(&leaf_file, &authority, &names, now)?,
    };
    let config = server::config(chain, key, demands)?;
    Ok(SelfSigned { ca_file: authority.ca_file, config: Arc::new(config), names })
}

/// A leaf's certificate and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The kept leaf, if it can be used for a while yet.
fn read_leaf(path: &Path, authority: &Authority, names: &[String], now: UnixMillis) -> Result<Option<Pair>, TlsError> {
    let Some(text) = private_file::read(path)? else { return Ok(None) };
    // The file holds the leaf's own key beside its certificate; both go to rustls.
    let pem = text.expose();
    let (Ok(leaf), Ok(key)) = (CertificateDer::from_pem_slice(pem), PrivateKeyDer::from_pem_slice(pem)) else {
        return Ok(None);
    };
    let soon = now.plus_millis(i64::from(LEAF_DAYS_LEFT_MIN) * DAY.as_millis() as i64);
    if !authority.vouches_for(&leaf, names, now)? || !authority.vouches_for(&leaf, names, soon)? {
        return Ok(None);
    }
    // A key of another leaf is no reason to fail: both are issued anew.
    let pair = (vec![leaf], key);
    let fits = server::config(pair.0.clone(), pair.1.clone_key(), &Demands::default()).is_ok();
    Ok(fits.then_some(pair))
}

fn issue_leaf(path: &Path, authority: &Authority, names: &[String], now: UnixMillis) -> Result<Pair, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Keymoat");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, LEAF_DAYS, now);
    let leaf = params.signed_by(&key, &authority.issuer)?;
    if !authority.vouches_for(leaf.der(), names, now)? {
        return Err(authority.unusable());
    }
    let mut pem = leaf.pem();
    pem.push_str(&key.serialize_pem());
    let pem = Secret::from(pem);
    // Certificate and key go to the disk in one file, so that they cannot be torn apart.
    let content = pem.expose();
    private_file::replace(path, content, Readers::Owner)?;
    Ok((vec![leaf.der().clone()], key.into()))
}

/// The own authority: its certificate as clients know it, and its key.
struct Authority {
    ca_file: PathBuf,
    key_file: PathBuf,
    verifier: Arc<WebPkiServerVerifier>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(dir: &Path, now: UnixMillis) -> Result<Self, TlsError> {
        let (ca_file, key_file) = (dir.join("ca.pem"), dir.join("ca.key"));
        let unusable = || TlsError::AuthorityUnusable { ca_file: ca_file.clone(), key_file: key_file.clone() };
        let key = match read_key(&key_file)? {
            Some(key) => key,
            None if ca_file.exists() => return Err(unusable()),
            None => create_key(&key_file)?,
        };
        let params = authority_params(&key, now);
        if !ca_file.exists() {
            let pem = params.self_signed(&key)?.pem();
            private_file::create(&ca_file, pem.as_bytes(), Readers::Everyone)?;
        }
        let Some(certificate) = server::read_certificates(&ca_file)?.into_iter().next() else {
            return Err(TlsError::NoCertificate { path: ca_file });
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(|source| TlsError::BadAuthority { path: ca_file.clone(), source })?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|refused| rustls::Error::General(refused.to_string()))?;
        if has_expired(&verifier, &certificate, now) {
            return Err(unusable());
        }
        Ok(Self { ca_file, key_file, verifier, issuer: Issuer::new(params, key) })
    }

    /// Whether a client that trusts the authority accepts `leaf` for every one of `names` at that time.
    fn vouches_for(&self, leaf: &CertificateDer<'_>, names: &[String], at: UnixMillis) -> Result<bool, TlsError> {
        for name in names {
            let name = ServerName::try_from(name.as_str())
                .map_err(|_| rustls::Error::General(format!("`{name}` is neither a host name nor an address")))?;
            if self.verifier.verify_server_cert(leaf, &[], &name, &[], unix_time(at)).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unusable(&self) -> TlsError {
        TlsError::AuthorityUnusable { ca_file: self.ca_file.clone(), key_file: self.key_file.clone() }
    }
}

/// A verifier looks at a root's key, not at its dates, but at the dates of a leaf first: so the root is shown as one.
fn has_expired(verifier: &WebPkiServerVerifier, ca: &CertificateDer<'_>, now: UnixMillis) -> bool {
    let name = ServerName::try_from("localhost").expect("`localhost` is a host name");
    let verdict = verifier.verify_server_cert(ca, &[], &name, &[], unix_time(now));
    matches!(verdict, Err(rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. })))
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, TlsError> {
    let Some(text) = private_file::read(path)? else { return Ok(None) };
    // The authority signs with this key; it goes nowhere else.
    let pem = text.expose();
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    Ok(Some(KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?))
}

/// Draws the authority's key, unless another process was faster; then that one is read.
fn create_key(path: &Path) -> Result<KeyPair, TlsError> {
    let pem = Secret::from(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem());
    // The key goes to its own file, the one place where it is kept.
    let content = pem.expose();
    private_file::create(path, content, Readers::Owner)?;
    read_key(path)?.ok_or_else(|| rcgen::Error::CouldNotParseKeyPair.into())
}

/// The same key always gives the same name, so that the certificate can be told from, and made again from, the key.
fn authority_params(key: &KeyPair, now: UnixMillis) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let tag: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Keymoat local CA {tag}"));
    set_validity(&mut params, CA_DAYS, now);
    params
}

/// From a day before `now`, because clients' clocks differ, for so many days in all.
fn set_validity(params: &mut CertificateParams, days: u32, now: UnixMillis) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now).saturating_sub(DAY);
    params.not_after = params.not_before + DAY * days;
}

fn unix_time(at: UnixMillis) -> UnixTime {
    UnixTime::since_unix_epoch(since_epoch(at))
}

fn since_epoch(at: UnixMillis) -> Duration {
    Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

/// `localhost`, the machine's name, and all addresses but the IPv6 link-local ones, which need a zone to be used.
fn machine_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = gethostname::gethostname().to_string_lossy().trim_end_matches('.').to_ascii_lowercase();
    if ServerName::try_from(host.as_str()).is_ok() {
        names.push(host);
    }
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => {
            names.extend(interfaces.iter().map(if_addrs::Interface::ip).filter(is_usable).map(|ip| ip.to_string()));
        }
        Err(error) => tracing::warn!(%error, "cannot list this machine's addresses: the certificate is for localhost"),
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn is_usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

/// The path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn after_days(days: i64) -> UnixMillis {
        NOW.plus_millis(days * DAY.as_millis() as i64)
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The authority's certificate and the leaf's file, as they are after preparing at that time for those names.
    fn prepared(dir: &Path, all: &[&str], now: UnixMillis) -> (Vec<u8>, Vec<u8>) {
        prepare_for(dir, names(all), &Demands::default(), now).unwrap();
        (fs::read(dir.join("ca.pem")).unwrap(), fs::read(dir.join("server.pem")).unwrap())
    }

    #[test]
    fn authority_and_leaf_are_kept_while_they_last() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepared(dir.path(), &["localhost", "127.0.0.1"], NOW);
        assert_eq!(prepared(dir.path(), &["localhost", "127.0.0.1"], after_days(365)), first);
        assert_eq!(prepared(dir.path(), &["localhost"], NOW), first, "fewer names are no reason");
    }

    #[test]
    fn a_leaf_near_its_end_or_without_a_name_is_renewed_under_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, first) = prepared(dir.path(), &["localhost"], NOW);
        let (same_ca, second) = prepared(dir.path(), &["localhost"], after_days(367));
        assert!(same_ca == ca && second != first, "less than 30 days were left");
        let (same_ca, third) = prepared(dir.path(), &["localhost", "192.0.2.7"], after_days(367));
        assert!(same_ca == ca && third != second, "a name is new");
        let (same_ca, fourth) = prepared(dir.path(), &["localhost"], NOW);
        assert!(same_ca == ca && fourth != third, "the clock went back");
    }

    #[test]
    fn a_damaged_leaf_is_issued_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, leaf) = prepared(dir.path(), &["localhost"], NOW);
        fs::write(dir.path().join("server.pem"), &leaf[..leaf.len() / 2]).unwrap();
        let (same_ca, renewed) = prepared(dir.path(), &["localhost"], NOW);
        assert!(same_ca == ca && renewed != leaf);
    }

    #[test]
    fn an_authority_that_has_expired_or_lost_its_key_is_not_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        prepared(dir.path(), &["localhost"], NOW);
        assert!(prepare_for(dir.path(), names(&["localhost"]), &Demands::default(), after_days(3648)).is_ok());
        let expired =
            prepare_for(dir.path(), names(&["localhost"]), &Demands::default(), after_days(3650)).unwrap_err();
        assert!(matches!(expired, TlsError::AuthorityUnusable { .. }), "{expired}");

        let other = tempfile::tempdir().unwrap();
        prepared(other.path(), &["localhost"], NOW);
        fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
        let torn = prepare_for(dir.path(), names(&["localhost"]), &Demands::default(), NOW).unwrap_err();
        assert!(matches!(torn, TlsError::AuthorityUnusable { .. }), "{torn}");
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        let lost = prepare_for(dir.path(), names(&["localhost"]), &Demands::default(), NOW).unwrap_err();
        assert!(matches!(lost, TlsError::AuthorityUnusable { .. }), "{lost}");
        assert!(!dir.path().join("ca.key").exists(), "no other key was made");
    }

    #[test]
    fn a_lost_certificate_is_made_again_from_the_key_and_fits_the_kept_leaf() {
        let dir = tempfile::tempdir().unwrap();
        let (_, leaf) = prepared(dir.path(), &["localhost"], NOW);
        fs::remove_file(dir.path().join("ca.pem")).unwrap();
        let (_, same_leaf) = prepared(dir.path(), &["localhost"], NOW);
        assert_eq!(same_leaf, leaf);
    }

    #[test]
    fn keys_are_their_owners_alone_and_refused_when_they_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tls");
        prepared(&folder, &["localhost"], NOW);
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("ca.key"), mode("server.pem"), mode("ca.pem")), (0o700, 0o600, 0o600, 0o644));
        for name in ["ca.key", "server.pem"] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
            let refused = prepare_for(&folder, names(&["localhost"]), &Demands::default(), NOW).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn the_hint_names_the_file_as_one_word_of_a_shell() {
        let hint = trust_hint(Path::new("/srv/it's here/ca.pem")).join("\n");
        for expected in [
            r"SSL_CERT_FILE='/srv/it'\''s here/ca.pem'",
            r"NODE_EXTRA_CA_CERTS='/srv/it'\''s here/ca.pem'",
            r"curl --cacert '/srv/it'\''s here/ca.pem'",
        ] {
            assert!(hint.contains(expected), "{hint}");
        }
        assert!(trust_hint(Path::new("/srv/ca.pem")).iter().any(|line| line.ends_with("SSL_CERT_FILE=/srv/ca.pem")));
    }
}
