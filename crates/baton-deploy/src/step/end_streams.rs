//! *end_streams*: nothing more can come from the old color, so its event streams end: handed over, or
//! told to come back. WebSockets are told so too (Streams.md §2).

use serde_json::json;

use super::{StepResult, Walk, receipt};
use crate::drain::Stage;
use crate::plan::StepName;

const STEP: StepName = StepName::EndStreams;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some(leaving) = walk.leaving(STEP)? else {
        return Ok(json!({}));
    };
    let Some(drained) = walk.streams_done(&leaving).await? else {
        return Ok(json!({ "left": true }));
    };
    let cut = drained.cut();
    walk.drained = Some(Stage::Drained(drained));
    // Its instances may be gone when the receipt is written.
    let streams = receipt::now(walk).await;
    Ok(json!({ "cut": cut, "streams": streams }))
}
