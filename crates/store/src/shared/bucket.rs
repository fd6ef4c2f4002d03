//! An S3-compatible bucket: where readers of a shared log find it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Place;
use crate::error::StoreError;
use crate::objects::{Objects, Published, TileReader, Version};

const CHECKPOINT: &str = "checkpoint";

/// Shows whether the service heeds conditions. Written once.
const PROBE: &str = "conditions";

/// How long one request may take, and all attempts together. Half of the time after which a silent
/// sequencer loses its lease.
const REQUEST: Duration = Duration::from_secs(10);
const ATTEMPTS: Duration = Duration::from_secs(20);

/// How long a reader waits for a tile that the database has as well.
const READ: Duration = Duration::from_secs(2);

/// A bucket, or a prefix in one.
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: String,
    runtime: Arc<Runtime>,
}

impl Bucket {
    /// Sends nothing yet.
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let malformed = |problem: &str| StoreError::Place {
            what: "the bucket's URL",
            problem: problem.to_owned(),
        };
        let rest = place.bucket.strip_prefix("s3://");
        let rest = rest.ok_or_else(|| malformed("it does not begin with s3://"))?;
        let (name, prefix) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest, ""));
        let name = name.trim_end_matches('/');
        if name.is_empty() {
            return Err(malformed("it names no bucket"));
        }
        if Path::parse(prefix).is_err() {
            return Err(malformed("its prefix is not a path"));
        }
        let is_plain = place.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
        if is_plain && !place.insecure_plain && !is_local(place.endpoint.as_deref()) {
            return Err(StoreError::Place {
                what: "the bucket's endpoint",
                problem: "it is another machine, and spoken to without TLS".to_owned(),
            });
        }
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_allow_http(is_plain)
            // Whatever the environment says.
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(is_plain)
                    .with_connect_timeout(Duration::from_secs(5))
                    .with_timeout(REQUEST),
            )
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: ATTEMPTS,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &place.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(unreachable)?;
        // One thread, so that connections are looked after also while nothing is asked.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bucket")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unreachable {
                what: "the bucket",
                source: Box::new(error),
            })?;
        Ok(Self { store, prefix: prefix.to_owned(), runtime: Arc::new(runtime) })
    }

    /// Refuses a service that does not heed conditions: it would let an old checkpoint replace a newer
    /// one.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path(PROBE);
        let put = |mode| {
            let payload = PutPayload::from_static(b"what is here is never replaced\n");
            let options = PutOptions { mode, ..PutOptions::default() };
            self.runtime.block_on(self.store.put_opts(&path, payload, options))
        };
        match put(PutMode::Create) {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Err(error) => return Err(unreachable(error)),
        }
        let other = "\"00000000000000000000000000000000\"".to_owned();
        let other = UpdateVersion { e_tag: Some(other), version: None };
        for mode in [PutMode::Create, PutMode::Update(other)] {
            match put(mode) {
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(Error::NotFound { .. }) | Ok(_) => {
                    return Err(StoreError::Place {
                        what: "the bucket",
                        problem: "its service ignores conditions (If-Match, If-None-Match)"
                            .to_owned(),
                    });
                }
                Err(error) => return Err(unreachable(error)),
            }
        }
        Ok(())
    }

    fn path(&self, path: &str) -> Path {
        object_path(&self.prefix, path)
    }

    fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        self.runtime.block_on(get(&self.store, &self.path(path)))
    }
}

impl Objects for Bucket {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get(path)?.map(|(content, _)| content))
    }

    fn reader(&self) -> Option<TileReader> {
        let (store, runtime, prefix) =
            (self.store.clone(), Arc::clone(&self.runtime), self.prefix.clone());
        Some(TileReader(Arc::new(move |path| {
            let path = object_path(&prefix, path);
            let found = async { tokio::time::timeout(READ, get(&store, &path)).await };
            let found = runtime.block_on(found).map_err(|late| StoreError::Unreachable {
                what: "the bucket",
                source: Box::new(late),
            })?;
            Ok(found?.map(|(content, _)| content))
        })))
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        match self.runtime.block_on(self.store.head(&self.path(path))) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unreachable(error)),
        }
    }

    fn write_tiles(
        &mut self,
        tiles: &[(String, Vec<u8>)],
        each: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut writing = JoinSet::new();
        for (name, content) in tiles {
            let (store, path) = (self.store.clone(), self.path(name));
            let (name, content) = (name.clone(), content.clone());
            writing.spawn_on(
                async move { put_tile(&store, &path, name, content).await },
                self.runtime.handle(),
            );
        }
        while let Some(written) = self.runtime.block_on(writing.join_next()) {
            written.map_err(|error| StoreError::Unreachable {
                what: "the bucket",
                source: Box::new(error),
            })??;
            each()?;
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Published>, StoreError> {
        Ok(self.get(CHECKPOINT)?.map(|(note, version)| Published { note, version }))
    }

    fn replace_checkpoint(
        &mut self,
        note: &[u8],
        last: Option<&Version>,
    ) -> Result<Version, StoreError> {
        let mode = match last {
            Some(Version(e_tag)) => {
                PutMode::Update(UpdateVersion { e_tag: e_tag.clone(), version: None })
            }
            None => PutMode::Create,
        };
        let attributes = attributes("text/plain; charset=utf-8", "no-cache");
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let path = self.path(CHECKPOINT);
        let put = self.store.put_opts(&path, note.to_vec().into(), options);
        match self.runtime.block_on(put) {
            Ok(put) => Ok(Version(put.e_tag)),
            // Perhaps an earlier attempt did it, whose answer did not come.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                match self.get(CHECKPOINT)? {
                    Some((present, version)) if present == note => Ok(version),
                    _ => Err(StoreError::LeaseLost),
                }
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

fn object_path(prefix: &str, path: &str) -> Path {
    match prefix {
        "" => Path::from(path),
        prefix => Path::from(format!("{prefix}/{path}")),
    }
}

async fn put_tile(
    store: &AmazonS3,
    path: &Path,
    name: String,
    content: Vec<u8>,
) -> Result<(), StoreError> {
    let attributes = attributes("application/octet-stream", "public, max-age=31536000, immutable");
    let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
    match store.put_opts(path, content.clone().into(), options).await {
        Ok(_) => Ok(()),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
            match get(store, path).await? {
                Some((present, _)) if present == content => Ok(()),
                _ => Err(StoreError::ImmutableDiffers { path: name }),
            }
        }
        Err(error) => Err(unreachable(error)),
    }
}

async fn get(store: &AmazonS3, path: &Path) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
    match store.get(path).await {
        Ok(found) => {
            let version = Version(found.meta.e_tag.clone());
            let content = found.bytes().await.map_err(unreachable)?;
            Ok(Some((content.to_vec(), version)))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(unreachable(error)),
    }
}

fn attributes(content_type: &'static str, cache_control: &'static str) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, content_type),
        (Attribute::CacheControl, cache_control),
    ])
}

/// Whether a URL is of this machine.
fn is_local(url: Option<&str>) -> bool {
    let authority = url.and_then(|url| url.strip_prefix("http://")).unwrap_or_default();
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unreachable(error: Error) -> StoreError {
    StoreError::Unreachable { what: "the bucket", source: Box::new(error) }
}
