//! `sealwright sign --certificate`: what goes into a bundle, what is refused, and who is believed.

use sealwright_attest::{Bundle, VerificationMaterial};
use serde_json::json;

use crate::home::{Home, text};
use crate::pki::SIGNING;

const SIGN: &str = "sign model --key pki/trainer.key --certificate pki/trainer.pem \
                    --certificate-chain pki/intermediate.pem";
const VERIFY: &str = "verify model --bundle model.sig --cert-root pki/root.pem \
                      --identity trainer@loans.example";

fn home() -> Home {
    let home = Home::new();
    home.model("model");
    home.authorities();
    home.leaf("trainer", "P-256");
    home
}

/// The certificates of a bundle, as OpenSSL shows them in PEM.
fn certificates(home: &Home, bundle: &str) -> Vec<Vec<u8>> {
    let bundle = Bundle::parse(&home.read(bundle)).unwrap();
    let VerificationMaterial::Certificates(list) = bundle.material() else { panic!("{bundle:?}") };
    list.clone()
}

fn der(home: &Home, name: &str) -> Vec<u8> {
    home.tool("openssl", &["x509", "-in", &format!("pki/{name}.pem"), "-outform", "DER"])
}

#[test]
fn every_curve_signs_with_a_chain() {
    let home = home();
    for curve in ["P-256", "P-384", "P-521"] {
        home.leaf("trainer", curve);
        let value = home.json(SIGN);
        assert_eq!(value["certificate"]["identities"], json!(["trainer@loans.example"]));
        assert_eq!(value["certificate"]["certificates"], 2);
        assert_eq!(value["certificate"]["valid_now"], true);
        let bundle = home.read_json("model.sig");
        assert_eq!(bundle["verificationMaterial"]["tlogEntries"], json!([]));
        assert_eq!(bundle["dsseEnvelope"]["signatures"][0]["keyid"], "");
        assert_eq!(bundle["verificationMaterial"]["publicKey"], json!(null));
        let expected = [der(&home, "trainer"), der(&home, "intermediate")];
        assert_eq!(certificates(&home, "model.sig"), expected);

        let value = home.json(VERIFY);
        assert_eq!(value["signer"]["identities"], json!(["trainer@loans.example"]));
        assert_eq!(value["model_digest"], home.json("digest model")["model_digest"]);
        home.run(&VERIFY.replace("trainer@", "other@")).failed(1, "not for \"other@");
        home.openssl("pkey -in pki/trainer.key -pubout -out pki/trainer.pub");
        home.run("verify model --bundle model.sig --key pki/trainer.pub")
            .failed(1, "signed with a certificate");
    }
    let weights = home.read("model/weights.safetensors");
    home.write("model/weights.safetensors", &weights[1..]);
    let ran = home.run(&format!("--json {VERIFY}"));
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.json()["differences"],
        json!(["changed: weights.safetensors: 9999 bytes, 10000 were signed"])
    );
}

#[test]
fn the_chain_is_put_in_order_and_the_root_left_out() {
    let home = home();
    let ordered = [der(&home, "trainer"), der(&home, "intermediate")];
    home.join(&["pki/trainer.pem", "pki/root.pem", "pki/intermediate.pem"], "all.pem");
    home.join(&["pki/root.pem", "pki/trainer.pem", "pki/intermediate.pem"], "chain.pem");
    let explained = b"Certificate:\n    Data: for people\n".to_vec();
    home.write("explained.pem", [explained, home.read("pki/trainer.pem")].concat());
    for (leaf, chain) in [
        ("all.pem", ""),
        ("pki/trainer.pem", "--certificate-chain chain.pem"),
        ("all.pem", "--certificate-chain chain.pem"),
        (
            "explained.pem",
            "--certificate-chain pki/root.pem --certificate-chain pki/intermediate.pem",
        ),
    ] {
        let line = format!("sign model --key pki/trainer.key --certificate {leaf} {chain}");
        let ran = home.must(&line);
        assert_eq!(certificates(&home, "model.sig"), ordered, "{line}");
        assert!(ran.stderr.contains("note: the root CN=Root is not put into"), "{ran:#?}");
        home.must(VERIFY);
    }
    // Without the intermediate the verifier must have it.
    home.must("sign model --key pki/trainer.key --certificate pki/trainer.pem");
    assert_eq!(certificates(&home, "model.sig"), ordered[..1]);
    home.run(VERIFY).failed(1, "its issuer is not among");
    home.must(&format!("{VERIFY} --cert-root pki/intermediate.pem"));
}

#[test]
fn a_certificate_by_itself_is_its_own_root() {
    let home = home();
    home.write("self.ext", format!("{SIGNING}subjectAltName=email:trainer@loans.example\n"));
    home.openssl(
        "x509 -req -in pki/trainer.csr -key pki/trainer.key -extfile self.ext -out self.pem",
    );
    let line = "sign model --key pki/trainer.key --certificate self.pem";
    let ran = home.must(line);
    assert!(!ran.stderr.contains("root"), "{ran:#?}");
    assert_eq!(certificates(&home, "model.sig").len(), 1);
    home.must(&VERIFY.replace("pki/root", "self"));
    home.run(VERIFY).failed(1, "its issuer is not among");
    home.run(&format!("{line} --certificate-chain pki/intermediate.pem")).failed(2, "no link");
}

#[test]
fn certificates_that_would_be_refused_do_not_sign() {
    let home = home();
    home.leaf("other", "P-256");
    home.authority_of_others();
    let email = "subjectAltName=email:trainer@loans.example\n";
    home.leaf_with("server", "P-256", &format!("extendedKeyUsage=serverAuth\n{email}"), 30);
    home.leaf_with("bare", "P-256", email, 30);
    home.leaf_with("agree", "P-256", &format!("keyUsage=keyAgreement\n{email}"), 30);
    home.leaf_with("koblitz", "secp256k1", SIGNING, 30);
    home.write("empty.pem", "");
    home.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    // The header of 184 bytes of DER, and none of them.
    home.write("short.pem", "-----BEGIN CERTIFICATE-----\nMIQAujk=\n-----END CERTIFICATE-----\n");
    let trainer = "--key pki/trainer.key --certificate";
    for (line, said) in [
        ("--key pki/trainer.key --certificate pki/other.pem", "not for the signing key"),
        ("--key pki/other.key --certificate pki/trainer.pem", "not for the signing key"),
        ("--key pki/server.key --certificate pki/server.pem", "no codeSigning"),
        ("--key pki/bare.key --certificate pki/bare.pem", "neither key usage nor"),
        ("--key pki/agree.key --certificate pki/agree.pem", "no digitalSignature"),
        ("--key pki/trainer.key --certificate pki/koblitz.pem", "not ECDSA on P-256"),
        ("--key pki/trainer.key --certificate pki/root.pem", "no digitalSignature"),
        (&format!("{trainer} pki/trainer.pem --certificate-chain pki/other.pem"), "CN=other"),
        (&format!("{trainer} pki/trainer.pem --certificate-chain pki/root.pem"), "CN=Root"),
        (&format!("{trainer} pki/trainer.pem --certificate-chain others/i.pem"), "signature"),
        (&format!("{trainer} empty.pem"), "not a PEM file"),
        (&format!("{trainer} broken.pem"), "not a PEM file"),
        (&format!("{trainer} short.pem"), "not a PEM file"),
        (&format!("{trainer} pki/trainer.key"), "not a PEM file"),
        (&format!("{trainer} pki/trainer.pem --certificate-chain empty.pem"), "not a PEM file"),
        (&format!("{trainer} pki/nothing.pem"), "does not exist"),
        ("--key pki/trainer.key --certificate-chain pki/root.pem", "--certificate <PEM>"),
    ] {
        home.run(&format!("sign model {line}")).failed(2, said);
        assert!(!home.path("model.sig").exists(), "{line}");
    }
    home.run("verify model --bundle x --cert-root empty.pem --identity x").failed(2, "not a PEM");
}

impl Home {
    /// `others/i.pem`: an intermediate of the same name as ours, with another key.
    fn authority_of_others(&self) {
        self.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out i.key");
        self.openssl("req -new -key i.key -subj /CN=intermediate -out i.csr");
        self.write("others/x", "");
        self.openssl(
            "x509 -req -in i.csr -CA pki/root.pem -CAkey pki/root.key -CAcreateserial \
             -extfile pki/authority.ext -out others/i.pem",
        );
    }
}

#[test]
fn a_certificate_that_is_not_valid_signs_with_a_warning() {
    let home = home();
    let extensions = format!("{SIGNING}subjectAltName=email:trainer@loans.example\n");
    home.leaf_with("trainer", "P-256", &extensions, -1);
    let ran = home.must(SIGN);
    assert!(ran.stderr.contains("note: the certificate of \"CN=trainer\" is not valid at"));
    assert_eq!(home.json(SIGN)["certificate"]["valid_now"], false);
    home.run(VERIFY).failed(1, "is not valid at");

    home.leaf_with("trainer", "P-256", SIGNING, 30);
    let ran = home.must(SIGN);
    assert!(ran.stderr.contains("no subject alternative name"), "{ran:#?}");
    home.run(&format!("{VERIFY} --at 2000-01-01T00:00:00Z")).failed(1, "is not valid at");
    let anybody = VERIFY.replace("--identity trainer@loans.example", "--insecure-any-identity");
    assert!(home.must(&anybody).stdout.contains("anybody's would do"));
}

#[test]
fn the_key_and_its_certificate_are_two_ways_to_say_who_signed() {
    let home = home();
    let ran = home.must(SIGN);
    assert!(ran.stdout.contains("certificate   trainer@loans.example (2 certificates)\n"));
    let value = home.json(SIGN);
    home.must("sign model --key pki/trainer.key --output key.sig");
    assert_eq!(home.json(VERIFY)["key_id"], value["key_id"]);
    let key = text(&value["key_id"]).to_owned();
    home.openssl("pkey -in pki/trainer.key -pubout -out k.pub");
    assert_eq!(home.json("verify model --bundle key.sig --key k.pub")["key_id"], key);
}
