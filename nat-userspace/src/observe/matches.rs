//! The flows that a filter selects, straight from the pinned map.

use std::ops::ControlFlow;

use nat_common::timeouts::IdleLimits;

use super::flows::{Pair, fits, is_surely_alive};
use crate::datapath::inspect::{Back, Flow, Inspect};
use crate::model::filter::Filter;

/// Hands every live flow that matches to `each`, until that fails.
pub fn for_each_match(
    inspect: &Inspect,
    filter: &Filter,
    each: &mut dyn FnMut(&Flow, Back<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let limits = inspect.settings()?.timeouts;
    let mut outcome = Ok(());
    inspect.flows(&mut |flow, back| {
        if is_match(filter, &limits, flow, back) {
            outcome = each(flow, back);
        }
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

/// The other half is read only when this one cannot tell.
fn is_match(filter: &Filter, limits: &IdleLimits, flow: &Flow, back: Back<'_>) -> bool {
    let Flow { key, out, now, .. } = flow;
    if !fits(filter, key, out) {
        return false;
    }
    if filter.state.is_none() && is_surely_alive(limits, key, out, *now) {
        return true;
    }
    let back = back();
    let pair = Pair { key, out, back: back.as_ref() };
    !pair.is_dead(limits, *now) && filter.state.is_none_or(|state| state == pair.state())
}
