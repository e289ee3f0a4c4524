//! Orders from a page: the ones that the services take, in the name of whoever signed in.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    response::Redirect,
};

use super::{Pages, asked::Refused, guard::Visitor};
use crate::{
    engine::{Chosen, Ordered},
    grpc::changed,
    scheduler::Order,
};

/// Pauses, resumes or cancels a sweep.
pub(super) async fn sweep(
    State(pages): State<Arc<Pages>>,
    Extension(visitor): Extension<Visitor>,
    Path((sweep, order)): Path<(String, String)>,
) -> Result<Redirect, Refused> {
    let by = visitor.name.unwrap_or_default();
    let order = match &*order {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "cancel" => Order::Cancel(format!("cancelled by {by}")),
        _ => return Err(Refused::nowhere(format!("a sweep cannot be told to {order}"))),
    };
    let sweep = pages.find(sweep).await?;
    changed(pages.engine.order(sweep.clone(), Ordered::Ready(order), by).await)?;
    Ok(Redirect::to(&format!("/sweeps/{sweep}")))
}

/// Stops a trial or tries it again.
pub(super) async fn trial(
    State(pages): State<Arc<Pages>>,
    Extension(visitor): Extension<Visitor>,
    Path((sweep, trial, order)): Path<(String, u64, String)>,
) -> Result<Redirect, Refused> {
    let by = visitor.name.unwrap_or_default();
    let order = match &*order {
        "stop" => Ordered::Ready(Order::Stop(trial)),
        "retry" => Ordered::Retry(Chosen { trials: vec![trial], ..Chosen::default() }),
        _ => return Err(Refused::nowhere(format!("a trial cannot be told to {order}"))),
    };
    let sweep = pages.find(sweep).await?;
    changed(pages.engine.order(sweep.clone(), order, by).await)?;
    Ok(Redirect::to(&format!("/sweeps/{sweep}/trials/{trial}")))
}
