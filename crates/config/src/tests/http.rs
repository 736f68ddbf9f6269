//! The section `http`.

use super::{load, refused};

#[test]
fn public_addresses_are_warned_of_and_contradictions_are_named() {
    let warnings = |yaml: &str| {
        let config = load(yaml, &[]).unwrap();
        let warnings = config.settings.warnings().iter();
        warnings.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(warnings("http: {hot_listen: '[::1]:1', cold_listen: '127.9.9.9:0'}\n").is_empty());
    let public = warnings("http: {cold_listen: '0.0.0.0:8086'}\n");
    assert_eq!(public.len(), 1, "{public:?}");
    assert!(
        public[0].contains("c.yaml:1:21: http.cold_listen"),
        "{public:?}"
    );
    let production = [("ENVIRONMENT", "production")];
    assert!(load("http: {hot_listen: '10.1.2.3:80'}\n", &production).is_ok());
    let text = refused(
        "http:\n  tls_cert_file: /nowhere/c.pem\n  token: 'two words'\n  token_file: t\n  hot_listen: localhost:1\n  \
         max_connections: 0\n  allow_hosts: ['http://x']\n",
        &[],
    );
    for place in [
        "c.yaml:2:18: http.tls_cert_file: it has no effect without tls_key_file",
        "c.yaml:3:10: http.token",
        "c.yaml:4:15: http.token_file: set token or token_file",
        "c.yaml:5:15: http.hot_listen",
        "c.yaml:6:20: http.max_connections",
        "c.yaml:7:16: http.allow_hosts",
    ] {
        assert!(text.contains(place), "{place} is not in {text}");
    }
    assert!(!text.contains("two words"), "{text}");
    for token in ["''", "ümlaut-ümlaut-ümlaut"] {
        refused(&format!("http: {{token: {token}}}\n"), &[]);
    }
    refused("http: {tls_key_file: k}\n", &[]);
    for environment in [&production[..], &[]] {
        let text = refused("http: {token: easy}\n", environment);
        assert!(
            text.contains("fewer than 16 characters") && !text.contains("easy"),
            "{text}"
        );
    }
}

#[test]
fn certificate_is_read_with_its_key_and_again_after_a_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |certificate: &str, key: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["hot.internal".into()]).unwrap();
        std::fs::write(path(certificate), made.cert.pem()).unwrap();
        std::fs::write(path(key), made.signing_key.serialize_pem()).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path(key), permissions).unwrap();
    };
    write("c.pem", "c.key");
    write("other.pem", "other.key");
    let yaml = |key: &str| {
        let (certificate, key) = (path("c.pem"), path(key));
        format!(
            "http:\n  tls_cert_file: {}\n  tls_key_file: {}\n",
            certificate.display(),
            key.display()
        )
    };
    let config = load(&yaml("c.key"), &[]).unwrap();
    let certificate = config.http.certificate.unwrap();
    let public = load(&format!("{}  hot_listen: 0.0.0.0:1\n", yaml("c.key")), &[]).unwrap();
    assert!(public.settings.warnings().is_empty());
    for wrong in ["other.key", "c.pem", "nowhere"] {
        let text = refused(&yaml(wrong), &[]);
        assert!(
            text.contains("c.yaml:2:18") && text.contains(wrong),
            "{text}"
        );
    }
    write("c.pem", "c.key");
    certificate.read_again().unwrap();
    std::fs::write(path("c.key"), "").unwrap();
    certificate.read_again().unwrap_err();
}
