// Gets trusted_root.json and signing_config.v0.2.json with Sigstore's JavaScript TUF client.
//
//   tuf.cjs ROOT URL CACHE      prints {"trusted_root": …, "signing_config": …}
//
// Its packages are found through NODE_PATH.
const { initTUF } = require('@sigstore/tuf');

const [rootPath, mirrorURL, cachePath] = process.argv.slice(2);

(async () => {
  const client = await initTUF({ rootPath, mirrorURL, cachePath });
  const target = async (name) => JSON.parse(await client.getTarget(name));
  const made = {
    trusted_root: await target('trusted_root.json'),
    signing_config: await target('signing_config.v0.2.json'),
  };
  console.log(JSON.stringify(made));
})().catch((error) => {
  console.error(error, error.cause);
  process.exit(1);
});
