//! Measuring: part after part, and a part that breaks costs only itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::Result;

use crate::context::{Context, progress};
use crate::parts::Part;
use crate::report::baseline::Baseline;
use crate::report::check;
use crate::report::document::{Failure, Report};
use crate::report::machine::Machine;
use crate::report::section::Section;

/// How often `--check` measures before it calls a ratio worse.
const ATTEMPTS: u32 = 3;

/// Runs `parts`; `after` sees each section as soon as it is there, and all that came before it.
pub fn measure(
    context: &Context,
    parts: &[Part],
    after: &mut dyn FnMut(&Report, &Section) -> Result<()>,
) -> Result<Report> {
    let start = Instant::now();
    let mut report = Report::new(Machine::here(), context.effort.name());
    for part in parts {
        progress(&format!("part {}", part.name));
        match attempt(|| (part.run)(context)) {
            Ok(section) => {
                report.sections.push(section.clone());
                report.seconds = start.elapsed().as_secs_f64();
                after(&report, &section)?;
            }
            Err(error) => {
                progress(&format!("part {} failed: {error}", part.name));
                report.failures.push(Failure { part: part.name.to_owned(), error });
            }
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Compares with `baseline`, and measures parts with a worse ratio again, up to [`ATTEMPTS`] times in all: a
/// neighbour on a shared machine can spoil one measurement, but a real regression is there every time.
pub fn check(
    context: &Context,
    parts: &[Part],
    report: &mut Report,
    baseline: &Baseline,
) -> Result<(check::Outcome, u32)> {
    let mut attempts = 1;
    loop {
        let outcome = check::compare(report, baseline);
        let again: Vec<Part> = parts
            .iter()
            .filter(|part| outcome.noisy_parts.iter().any(|noisy| noisy == part.name))
            .copied()
            .collect();
        if again.is_empty() || attempts == ATTEMPTS {
            return Ok((outcome, attempts));
        }
        attempts += 1;
        progress(&format!("worse than committed, maybe noise: attempt {attempts} of {ATTEMPTS}"));
        let second = measure(context, &again, &mut |_, _| Ok(()))?;
        check::keep_best(report, &second);
        report.failures.extend(second.failures);
        report.seconds += second.seconds;
    }
}

/// A panic is a failure like any other: what other parts found must not be lost to it.
fn attempt<T>(run: impl FnOnce() -> Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(format!("panicked: {}", message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::bail;

    use super::*;
    use crate::context::Effort;
    use crate::report::section::{Compare, Finding};

    thread_local! {
        /// Tests share no state: each runs on a thread of its own.
        static RUNS: Cell<u32> = const { Cell::new(0) };
    }

    fn context() -> Context {
        let none = std::path::PathBuf::new;
        Context { effort: Effort::Check, bench_object: none() }
    }

    fn ratio(value: f64) -> Section {
        Section {
            id: "good".to_owned(),
            findings: vec![Finding {
                id: "good/ratio".to_owned(),
                what: "x".to_owned(),
                value,
                target: None,
                compare: Compare::NotBelow(0.1),
            }],
            ..Section::default()
        }
    }

    /// 1, 2, 3: better each time.
    #[expect(clippy::unnecessary_wraps, reason = "what a part looks like")]
    fn rising(_: &Context) -> Result<Section> {
        RUNS.set(RUNS.get() + 1);
        Ok(ratio(f64::from(RUNS.get())))
    }

    fn broken(_: &Context) -> Result<Section> {
        bail!("no cable")
    }

    fn panicking(_: &Context) -> Result<Section> {
        panic!("no electricity")
    }

    const GOOD: Part = Part { name: "good", run: rising };

    #[test]
    fn a_part_that_breaks_costs_only_itself() {
        let parts = [Part { name: "a", run: broken }, Part { name: "b", run: panicking }, GOOD];
        let mut seen = Vec::new();
        let report = measure(&context(), &parts, &mut |_, section| {
            seen.push(section.id.clone());
            Ok(())
        });
        let report = report.expect("measures");
        assert_eq!(seen, ["good"]);
        assert_eq!(report.sections.len(), 1);
        let errors: Vec<_> = report.failures.iter().map(|f| (f.part.as_str(), f.error.as_str())).collect();
        assert_eq!(errors, [("a", "no cable"), ("b", "panicked: no electricity")]);
    }

    fn checked(committed: f64) -> (check::Outcome, u32) {
        RUNS.set(0);
        let mut baseline = Baseline::default();
        let mut report = Report::new(Machine::default(), "check");
        report.sections.push(ratio(committed));
        baseline.replace_with(&report);
        let mut report = measure(&context(), &[GOOD], &mut |_, _| Ok(())).expect("measures");
        check(&context(), &[GOOD], &mut report, &baseline).expect("checks")
    }

    #[test]
    fn measures_again_only_what_is_worse_and_takes_the_best() {
        let (outcome, attempts) = checked(1.0);
        assert_eq!((outcome.regressions.len(), attempts), (0, 1));
        let (outcome, attempts) = checked(2.0);
        assert_eq!((outcome.regressions.len(), attempts), (0, 2));
        let (outcome, attempts) = checked(9.0);
        assert_eq!((outcome.regressions.len(), attempts), (1, ATTEMPTS));
        assert!(outcome.regressions[0].contains("9 -> 3"), "{outcome:?}");
    }
}
