//! `natgw doctor`: is this host fit for a gateway?

use std::io::Write;

use serde::Serialize;

use super::args::DoctorArgs;
use super::table::{Align, Paint, table};
use crate::model::check::{Check, Outcome};
use crate::observe::doctor;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    fit: bool,
    checks: &'a [Check],
}

/// Prints every check; fails when one of them does.
pub async fn run(args: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let checks = doctor::examine(&args.gateway).await;
    let failed = checks.iter().filter(|c| c.outcome == Outcome::Fail).count();
    if args.output.json {
        serde_json::to_writer(&mut *out, &Document { fit: failed == 0, checks: &checks })?;
        writeln!(out)?;
    } else {
        out.write_all(render(&checks, Paint::stdout()).as_bytes())?;
    }
    out.flush()?;
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed; see what to do about each", checks.len());
    Ok(())
}

fn render(checks: &[Check], paint: Paint) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|c| {
            let text = match &c.what_to_do {
                Some(what_to_do) => format!("{}; {what_to_do}", c.text),
                None => c.text.clone(),
            };
            vec![c.outcome.name().to_owned(), c.check.clone(), text]
        })
        .collect();
    table(&[("RESULT", Align::Left), ("CHECK", Align::Left), ("FOUND", Align::Left)], &rows, paint)
}
