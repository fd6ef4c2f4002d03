//! Where the private keys of the authorities are, if they are not in the data directory.

use sealwright_attest::SharedSigner;
use sealwright_server::service::AuthorityKeys;

use crate::error::CliError;
use crate::keyref::{self, PassphraseArgs};
use crate::output::Ui;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Keys that are kept elsewhere")]
pub(super) struct AuthorityKeyArgs {
    /// The certificate authority's private key, if it is not to lie in the data directory.
    #[arg(long, value_name = "REF")]
    ca_key: Option<String>,
    /// The private key of its certificate log; on P-256.
    #[arg(long, value_name = "REF")]
    ct_key: Option<String>,
    /// The timestamp authority's private key.
    #[arg(long, value_name = "REF")]
    tsa_key: Option<String>,
}

impl AuthorityKeyArgs {
    /// Opens those that are named; asks for the passphrases of those that are encrypted.
    pub(super) fn open(
        &self,
        passphrase: &PassphraseArgs,
        ui: &Ui,
    ) -> Result<AuthorityKeys, CliError> {
        let open = |reference: &Option<String>| {
            let signer = reference.as_ref().map(|key| keyref::open_signer(key, passphrase, ui));
            Ok::<_, CliError>(signer.transpose()?.map(SharedSigner::from))
        };
        Ok(AuthorityKeys {
            certificates: open(&self.ca_key)?,
            certificate_log: open(&self.ct_key)?,
            timestamps: open(&self.tsa_key)?,
        })
    }
}
