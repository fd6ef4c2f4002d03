//! What is asked of keyless signatures beyond one name: patterns, and how much evidence.

use std::num::NonZeroU8;

use sealwright_server::evidence::{Witnesses, WitnessesError};
use sealwright_sigstore::{Matcher, Thresholds, Trust, WitnessPolicy};
use sealwright_tlog::cosignature::CosignerKey;

use crate::error::CliError;

/// For keyless certificates under --trusted-root.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KeylessArgs {
    /// Trust keyless identities that are, as a whole, of the form of this regular expression; may be
    /// repeated.
    #[arg(long = "identity-regexp", value_name = "PATTERN", requires = "bundles", conflicts_with_all = ["cert_roots", "keys"])]
    identity_patterns: Vec<String>,
    /// The same for the OIDC issuer.
    #[arg(long = "issuer-regexp", value_name = "PATTERN", requires = "bundles", conflicts_with_all = ["cert_roots", "keys", "issuer"])]
    issuer_pattern: Option<String>,
    /// Require a keyless signature to be in the logs of this many operators.
    #[arg(long, value_name = "N", requires = "bundles", conflicts_with_all = ["cert_roots", "keys"])]
    min_logs: Option<NonZeroU8>,
    /// Require this many operators (of timestamp authorities, or of logs that sign a time) to say when
    /// a keyless signature was there.
    #[arg(long, value_name = "N", requires = "bundles", conflicts_with_all = ["cert_roots", "keys"])]
    min_times: Option<NonZeroU8>,
    /// Witness (C2SP vkey) whose cosignature on the log's checkpoint counts, for keyless signatures and
    /// --policy; may be repeated.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,
    /// How many of the witnesses must have cosigned; all of them otherwise.
    #[arg(long, value_name = "N", requires = "witnesses")]
    min_witnesses: Option<NonZeroU8>,
}

impl KeylessArgs {
    /// Whether a pattern says whose certificate is meant.
    pub(crate) fn names_somebody(&self) -> bool {
        !self.identity_patterns.is_empty()
    }

    /// Matchers of `exact` names and of the patterns.
    pub(crate) fn identities(
        &self,
        exact: &[String],
    ) -> Result<impl Iterator<Item = Matcher>, CliError> {
        let patterns = self.identity_patterns.iter().map(|text| pattern("--identity-regexp", text));
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        Ok(exact.iter().map(Matcher::exact).chain(patterns).collect::<Vec<_>>().into_iter())
    }

    /// The matcher of the issuer, if one is named.
    pub(crate) fn issuer(&self, exact: Option<&str>) -> Result<Option<Matcher>, CliError> {
        match (exact, &self.issuer_pattern) {
            (Some(exact), _) => Ok(Some(Matcher::exact(exact))),
            (None, Some(text)) => pattern("--issuer-regexp", text).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The same witnesses, for the policy's input.
    pub(crate) fn witnesses(&self) -> Result<Witnesses, CliError> {
        Ok(Witnesses::parse(&self.witnesses)?)
    }

    /// Refuses witnesses that nothing would ask for.
    pub(crate) fn check_witnesses(&self, are_asked_for: bool) -> Result<(), CliError> {
        if self.witnesses.is_empty() || are_asked_for {
            return Ok(());
        }
        Err(CliError::input("--witness is for keyless signatures and for --policy")
            .hint("leave it out, or give --identity and --issuer, or --policy"))
    }

    /// How much evidence there must be: never less than the trusted root can give.
    pub(crate) fn thresholds(&self, trust: &Trust) -> Result<Thresholds, CliError> {
        let mut thresholds = Thresholds::of(trust);
        let at_least = |least: Option<NonZeroU8>, usual: usize| {
            least.map_or(usual, |least| usual.max(least.get().into()))
        };
        thresholds.logs = at_least(self.min_logs, thresholds.logs);
        thresholds.times = at_least(self.min_times, thresholds.times);
        let keys = self.witnesses.iter().map(|vkey| {
            CosignerKey::parse(vkey).map_err(|error| {
                CliError::input(format!("--witness {vkey:?}: {error}"))
                    .hint("write it as NAME+HEX+BASE64, with key type 4 (cosignature/v1)")
            })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let quorum = self.min_witnesses.map_or(keys.len(), |least| least.get().into());
        if quorum > keys.len() {
            let message = format!("--min-witnesses {quorum} of {} witnesses", keys.len());
            return Err(CliError::input(message).hint("give more --witness"));
        }
        thresholds.witnesses = WitnessPolicy { keys, quorum };
        Ok(thresholds)
    }
}

impl From<WitnessesError> for CliError {
    fn from(error: WitnessesError) -> Self {
        Self::input(error.to_string())
            .hint("write --witness NAME+HEX+BASE64, with key type 4 (cosignature/v1)")
    }
}

fn pattern(option: &str, text: &str) -> Result<Matcher, CliError> {
    Matcher::pattern(text).map_err(|error| {
        CliError::input(format!("{option}: {error}"))
            .hint("the pattern must match the whole name; quote dots: repo@acme\\.example")
    })
}
