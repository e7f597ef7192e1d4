//! The build of an index while it runs: how far it is, and that it can be ended.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use lance_index::progress::IndexBuildProgress;
use serde::Serialize;
use tokio::sync::watch;

use crate::error::{Error, Result, Status};

/// How far a build is.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    name: String,
    stage: String,
    completed: u64,
    total: Option<u64>,
    unit: String,
}

/// The build that is running, if one is, and whether any may.
#[derive(Debug, Default)]
pub struct Build {
    running: Mutex<Option<Progress>>,
    ended: watch::Sender<bool>,
}

impl Build {
    /// How far it is.
    pub fn progress(&self) -> Option<Progress> {
        self.lock().clone()
    }

    /// Ends the build that runs, and those to come.
    pub fn cancel(&self) {
        self.ended.send_replace(true);
    }

    /// The outcome of a build, unless that is cancelled before.
    pub async fn unless_cancelled<T>(&self, build: impl Future<Output = Result<T>>) -> Result<T> {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            outcome = build => outcome,
            _ = ended.wait_for(|ended| *ended) => {
                Err(Error::new(Status::Cancelled, "the build of an index was cancelled"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Progress>> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that a build runs, until what it returns goes.
    pub fn begin(self: &Arc<Self>, name: &str) -> Running {
        *self.lock() = Some(Progress {
            name: name.to_owned(),
            stage: String::new(),
            completed: 0,
            total: None,
            unit: String::new(),
        });
        Running(self.clone())
    }
}

/// Ends the build when it goes.
pub struct Running(Arc<Build>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

#[async_trait]
impl IndexBuildProgress for Build {
    async fn stage_start(&self, stage: &str, total: Option<u64>, unit: &str) -> lance::Result<()> {
        if let Some(progress) = self.lock().as_mut() {
            progress.stage = stage.to_owned();
            progress.completed = 0;
            progress.total = total;
            progress.unit = unit.to_owned();
        }
        Ok(())
    }

    async fn stage_progress(&self, stage: &str, completed: u64) -> lance::Result<()> {
        if let Some(progress) = self.lock().as_mut().filter(|p| p.stage == stage) {
            progress.completed = completed;
        }
        Ok(())
    }

    async fn stage_complete(&self, _: &str) -> lance::Result<()> {
        Ok(())
    }
}
