//! Where a test can stop the store. Without the feature `testing` nothing can.

#[cfg(feature = "testing")]
use std::path::Path;

use crate::error::StoreError;

/// The moments at which a crash or a failure is most dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "exported for tests"))]
pub enum Step {
    /// A checkpoint is signed but not committed.
    Signed,
    /// The transaction is committed, nothing is published.
    Committed,
    /// One more tile or entry bundle is published.
    TilePublished,
    /// All tiles are published, the checkpoint is not.
    TilesPublished,
    /// The checkpoint is in its place; others who share the log are not told yet.
    CheckpointReplaced,
    /// The checkpoint is published, the caller does not know yet.
    CheckpointPublished,
}

#[cfg(feature = "testing")]
type Interrupt = Box<dyn FnMut(Step) -> std::io::Result<()> + Send>;

/// Asked at every [`Step`].
#[derive(Default)]
pub(crate) struct Hook {
    #[cfg(feature = "testing")]
    interrupt: Option<Interrupt>,
}

impl Hook {
    #[cfg(feature = "testing")]
    pub(crate) fn at(&mut self, step: Step) -> Result<(), StoreError> {
        match &mut self.interrupt {
            Some(interrupt) => {
                interrupt(step).map_err(|error| StoreError::file(Path::new("(test)"), error))
            }
            None => Ok(()),
        }
    }

    #[cfg(not(feature = "testing"))]
    pub(crate) fn at(&mut self, _step: Step) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(feature = "testing")]
impl crate::Store {
    /// Calls `interrupt` at every step; its error ends the running call there.
    pub fn interrupt_with(
        &mut self,
        interrupt: impl FnMut(Step) -> std::io::Result<()> + Send + 'static,
    ) {
        self.hook.interrupt = Some(Box::new(interrupt));
    }

    /// Sets a pragma of the connection to SQLite.
    pub fn set_pragma(&self, name: &str, value: i64) {
        self.db.set_pragma(name, value);
    }
}
