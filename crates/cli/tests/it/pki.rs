//! Certificates that OpenSSL makes: a root, an intermediate below it, leaves below that.

use crate::home::Home;

/// What a certificate for signing models says.
pub(crate) const SIGNING: &str =
    "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n";

const AUTHORITY: &str = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n";

impl Home {
    /// `pki/root.pem` (RSA), and `pki/intermediate.pem` (P-384) below it, with their keys.
    pub(crate) fn authorities(&self) {
        self.write("pki/authority.ext", AUTHORITY);
        let rsa = "req -new -newkey rsa:2048 -nodes -keyout pki/root.key -subj /CN=Root \
                   -out pki/root.csr";
        self.openssl(rsa);
        self.openssl(
            "x509 -req -in pki/root.csr -key pki/root.key -extfile pki/authority.ext -days 3650 \
             -out pki/root.pem",
        );
        self.request("intermediate", "P-384");
        self.issue("intermediate", "root", "pki/authority.ext", 3650);
    }

    /// `pki/NAME.key` on `curve`, and `pki/NAME.pem` for `name@loans.example` by the intermediate.
    pub(crate) fn leaf(&self, name: &str, curve: &str) {
        let names = format!("subjectAltName=email:{name}@loans.example\n");
        self.leaf_with(name, curve, &format!("{SIGNING}{names}"), 30);
    }

    /// The same with these extensions, for this many days; -1 makes one that was never valid.
    pub(crate) fn leaf_with(&self, name: &str, curve: &str, extensions: &str, days: i32) {
        let file = format!("pki/{name}.ext");
        self.write(&file, extensions);
        self.request(name, curve);
        self.issue(name, "intermediate", &file, days);
    }

    /// A key and a request for a certificate.
    fn request(&self, name: &str, curve: &str) {
        self.openssl(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out pki/{name}.key"
        ));
        self.openssl(&format!("req -new -key pki/{name}.key -subj /CN={name} -out pki/{name}.csr"));
    }

    /// Has `issuer` certify what `name` requested.
    pub(crate) fn issue(&self, name: &str, issuer: &str, extensions: &str, days: i32) {
        self.openssl(&format!(
            "x509 -req -in pki/{name}.csr -CA pki/{issuer}.pem -CAkey pki/{issuer}.key \
             -CAcreateserial -extfile {extensions} -days {days} -out pki/{name}.pem"
        ));
    }

    pub(crate) fn openssl(&self, line: &str) {
        self.tool("openssl", &line.split_whitespace().collect::<Vec<_>>());
    }

    /// Files one after the other in another.
    pub(crate) fn join(&self, files: &[&str], into: &str) {
        let bytes: Vec<u8> = files.iter().flat_map(|file| self.read(file)).collect();
        self.write(into, bytes);
    }
}
