// Signs and verifies with Sigstore's JavaScript client and a private instance.
//
//   client.cjs sign   TRUST_CONFIG ARTIFACT BUNDLE        token in ID_TOKEN
//   client.cjs attest TRUST_CONFIG ARTIFACT BUNDLE        ARTIFACT is an in-toto statement
//   client.cjs verify TRUST_CONFIG ARTIFACT BUNDLE IDENTITY ISSUER
//
// Its packages are found through NODE_PATH.
const fs = require('node:fs');
const { SigningConfig, TrustedRoot } = require('@sigstore/protobuf-specs');
const { bundleFromJSON, bundleToJSON } = require('@sigstore/bundle');
const { bundleBuilderFromSigningConfig } = require('@sigstore/sign');
const { toSignedEntity, toTrustMaterial, Verifier } = require('@sigstore/verify');

const [command, trustConfig, artifact, bundle, identity, issuer] = process.argv.slice(2);
const config = JSON.parse(fs.readFileSync(trustConfig));
const data = fs.readFileSync(artifact);

async function sign(bundleType, type) {
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(config.signingConfig),
    identityProvider: { getToken: async () => process.env.ID_TOKEN },
    bundleType,
  });
  const made = await builder.create({ data, type });
  fs.writeFileSync(bundle, JSON.stringify(bundleToJSON(made)));
}

function verify() {
  const trust = toTrustMaterial(TrustedRoot.fromJSON(config.trustedRoot));
  const verifier = new Verifier(trust, { tlogThreshold: 1, ctlogThreshold: 1, timestampThreshold: 1 });
  const parsed = bundleFromJSON(JSON.parse(fs.readFileSync(bundle)));
  verifier.verify(toSignedEntity(parsed, data), {
    subjectAlternativeName: identity,
    extensions: { issuer },
  });
}

(async () => {
  if (command === 'sign') await sign('messageSignature');
  else if (command === 'attest') await sign('dsseEnvelope', 'application/vnd.in-toto+json');
  else if (command === 'verify') verify();
  else throw new Error(`unknown command ${command}`);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
