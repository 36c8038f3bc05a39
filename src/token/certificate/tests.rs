use rcgen::{
    BasicConstraints, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;

const FROM: Timestamp = Timestamp::from_secs(1_900_000_000);
const UNTIL: Timestamp = Timestamp::from_secs(1_900_001_000);

fn own() -> (SigningKey, Certificate) {
    let key = SigningKey::generate().unwrap();
    let certificate = Certificate::of_own(&key, "https://idms.a.example", FROM, UNTIL).unwrap();
    (key, certificate)
}

fn list(params: &CertificateParams, key: &KeyPair, serials: &[&[u8]]) -> String {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: date_time_ymd(2030, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2030, 1, 1),
        next_update: date_time_ymd(2031, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&Issuer::from_params(params, key)).unwrap().pem().unwrap()
}

fn authority() -> (CertificateParams, KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    (params, key, certificate.pem())
}

#[test]
fn a_key_that_this_system_certifies_goes_through_a_file() {
    let (key, certificate) = own();
    let file = TrustFile::read(&format!("hello\n{}", certificate.to_pem())).unwrap();
    assert_eq!(file.certificates, std::slice::from_ref(&certificate));
    assert_eq!(certificate.key(), key.public());
    assert_eq!((certificate.not_before, certificate.not_after), (FROM, UNTIL));
    assert_eq!(certificate.subject, "https://idms.a.example");
    assert!(!certificate.is_authority());
    let json = serde_json::to_string(&certificate).unwrap();
    assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), certificate);
}

#[test]
fn a_certificate_is_valid_from_its_first_second_until_before_its_end() {
    let (_, certificate) = own();
    for (secs, valid) in [(-1, false), (0, true), (999, true), (1_000, false)] {
        let at = Timestamp::from_secs(FROM.as_secs().checked_add_signed(secs).unwrap());
        assert_eq!(certificate.is_valid_at(at), valid, "{secs}");
    }
}

#[test]
fn a_fingerprint_reads_as_it_is_shown_and_with_colons() {
    let (_, certificate) = own();
    let shown = certificate.fingerprint().to_string();
    let pairs: Vec<&str> = (0..32).map(|place| &shown[2 * place..2 * place + 2]).collect();
    for text in [shown.clone(), pairs.join(":"), shown.to_uppercase()] {
        assert_eq!(Fingerprint::parse(&text), Some(certificate.fingerprint()));
    }
    assert_eq!(Fingerprint::parse(&shown[1..]), None);
}

#[test]
fn a_list_of_the_authority_revokes_the_certificates_it_signed() {
    let (ca, ca_key, ca_pem) = authority();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let leaf = |serial: u64| {
        let mut params = CertificateParams::new(vec!["idms.a.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
    };
    let text = [ca_pem, leaf(5), leaf(6), list(&ca, &ca_key, &[&[6]])].concat();
    let file = TrustFile::read(&text).unwrap();
    let known: Vec<&Certificate> = file.certificates.iter().collect();
    assert_eq!(revoked_by(&file.lists[0], &known), Ok(vec![known[2].fingerprint()]));
    assert!(known[0].is_authority() && !known[1].is_authority());
    // Without the certificate of who signed it, a list says nothing.
    assert_eq!(revoked_by(&file.lists[0], &known[1..]), Err(CertificateError::List));
}

#[test]
fn a_list_that_somebody_else_signed_in_the_name_of_the_authority_is_refused() {
    let (ca, _, ca_pem) = authority();
    let eve = KeyPair::generate().unwrap();
    let file = TrustFile::read(&[ca_pem, list(&ca, &eve, &[&[6]])].concat()).unwrap();
    let known: Vec<&Certificate> = file.certificates.iter().collect();
    assert_eq!(revoked_by(&file.lists[0], &known), Err(CertificateError::List));
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let (_, certificate) = own();
    let pem = certificate.to_pem();
    let cut = &pem[..pem.len() / 2];
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = CertificateParams::default().self_signed(&p384).unwrap().pem();
    let mut encipher = CertificateParams::default();
    encipher.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let encipher = encipher.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    for (text, error) in [
        ("", CertificateError::Empty),
        ("hello", CertificateError::Empty),
        (cut, CertificateError::Block),
        (private, CertificateError::Block),
        (garbage, CertificateError::Malformed),
        (&p384, CertificateError::Key),
        (&encipher, CertificateError::Usage),
        (&pem.repeat(65), CertificateError::TooLong),
        (&" ".repeat(TRUST_FILE_OCTETS_MAX + 1), CertificateError::TooLong),
    ] {
        assert_eq!(TrustFile::read(text).map(|_| ()), Err(error), "{text:.80}");
    }
}
