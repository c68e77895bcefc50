//! What crosses the link: JSON behind its length (four bytes, the highest first).

use std::io;
use std::time::Duration;

use baton_engine::{Instance, InstanceId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::report::Report;
use crate::router::ServiceRoute;

/// Longest message in bytes: every route of every app, pages of maintenance included.
const LONGEST: usize = 64 * 1024 * 1024;

/// From the new daemon to the old one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    /// It accepts from the listeners that it was given; answered when the old one does no more.
    Accepting { call: u64 },
    /// Route by these from now on.
    Publish {
        call: u64,
        routes: Vec<ServiceRoute>,
    },
    /// As [`Router::cut`](crate::router::Router::cut).
    Cut { call: u64, id: InstanceId },
    /// As [`Router::end_websockets`](crate::router::Router::end_websockets).
    EndWebSockets {
        id: InstanceId,
        code: u16,
        spread: Duration,
        pinned: bool,
    },
    /// As [`Router::reset_longest_held`](crate::router::Router::reset_longest_held).
    ResetLongestHeld { app: baton_compose::AppName },
}

/// From the old daemon to the new one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    Report(Report),
    /// What is known of an instance's sessions, as [`Router::known_sessions`](crate::router::Router::known_sessions)
    /// says it, in base 64: those that began until the other process accepted.
    Sessions {
        instance: Instance,
        known: String,
    },
    /// The call was carried out; `report` is of the moment after it.
    Done {
        call: u64,
        count: u64,
        report: Report,
    },
}

pub(crate) async fn write(
    link: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    link.write_all(&length.to_be_bytes()).await?;
    link.write_all(&bytes).await?;
    link.flush().await
}

/// Not cancel safe.
pub(crate) async fn read<T: DeserializeOwned>(
    link: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = usize::try_from(link.read_u32().await?).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    link.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}
