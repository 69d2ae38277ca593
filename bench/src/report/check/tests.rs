//! The comparison, rule by rule.

use super::super::document::tests::fake;
use super::*;

const RATIO: &str = "rig/64/1/natgw_over_fib";
const COUNT: &str = "program/insns";

/// A report and the baseline it was saved as.
fn pair() -> (Report, Baseline) {
    let mut report = fake();
    report.machine.kernel = "6.18.3".to_owned();
    report.machine.compiler = "rustc 1".to_owned();
    let mut baseline = Baseline::default();
    baseline.replace_with(&report);
    (report, baseline)
}

fn set(report: &mut Report, id: &str, value: f64) {
    let mut findings = report.sections.iter_mut().flat_map(|section| &mut section.findings);
    findings.find(|finding| finding.id == id).expect("a finding of the fake").value = value;
}

#[test]
fn finds_nothing_wrong_with_itself() {
    let (report, baseline) = pair();
    let outcome = compare(&report, &baseline);
    assert_eq!(outcome, Outcome { compared: 2, ..Outcome::default() });
}

#[test]
fn lets_a_ratio_fall_within_noise_and_not_beyond() {
    let (mut report, baseline) = pair();
    set(&mut report, RATIO, 1.05 * 0.91);
    assert!(compare(&report, &baseline).regressions.is_empty());
    set(&mut report, RATIO, 1.05 * 0.88);
    let outcome = compare(&report, &baseline);
    let expected =
        format!("{RATIO}: 1.05 -> 0.924 (-12.0 %, 10.0 % down allowed): natgw over FIB forwarding");
    assert_eq!(outcome.regressions, [expected]);
    assert_eq!(outcome.noisy_parts, ["rig"]);
}

#[test]
fn lets_a_cost_rise_within_noise_and_not_beyond() {
    let (mut report, baseline) = pair();
    report.sections[0].findings[0].compare = Compare::NotAbove(0.2);
    set(&mut report, RATIO, 1.05 * 1.19);
    assert!(compare(&report, &baseline).regressions.is_empty());
    set(&mut report, RATIO, 1.05 * 1.21);
    assert_eq!(compare(&report, &baseline).regressions.len(), 1);
    set(&mut report, RATIO, 1.05 * 0.79);
    let outcome = compare(&report, &baseline);
    assert_eq!((outcome.regressions.len(), outcome.improvements.len()), (0, 1));
}

#[test]
fn counts_instructions_exactly_and_never_calls_them_noise() {
    let (mut report, baseline) = pair();
    for changed in [811.0, 813.0] {
        set(&mut report, COUNT, changed);
        let outcome = compare(&report, &baseline);
        assert_eq!(outcome.regressions.len(), 1, "{changed}");
        assert!(outcome.noisy_parts.is_empty());
    }
}

#[test]
fn counts_with_tolerance_on_another_kernel_or_compiler() {
    let (mut report, baseline) = pair();
    report.machine.kernel = "6.18.99-other".to_owned();
    set(&mut report, COUNT, 813.0);
    assert_eq!(compare(&report, &baseline).regressions.len(), 1, "the same series counts exactly");

    for (kernel, compiler) in [("6.12.1", "rustc 1"), ("6.18.3", "rustc 2")] {
        report.machine.kernel = kernel.to_owned();
        report.machine.compiler = compiler.to_owned();
        set(&mut report, COUNT, 880.0);
        let outcome = compare(&report, &baseline);
        assert!(outcome.regressions.is_empty(), "{outcome:?}");
        assert_eq!(outcome.remarks.len(), 1);
        set(&mut report, COUNT, 900.0);
        assert_eq!(compare(&report, &baseline).regressions.len(), 1);
    }
}

#[test]
fn misses_a_count_that_is_gone_but_not_a_ratio() {
    let (mut report, baseline) = pair();
    report.sections[0].findings.clear();
    assert!(compare(&report, &baseline).regressions.is_empty());
    report.sections[1].findings.clear();
    assert_eq!(compare(&report, &baseline).regressions.len(), 1);
    report.sections.pop();
    assert!(compare(&report, &baseline).regressions.is_empty(), "a part that did not run is not gone");
}

#[test]
fn names_what_is_new() {
    let (mut report, mut baseline) = pair();
    baseline.findings.remove(COUNT);
    assert_eq!(compare(&report, &baseline).unknown, ["program/insns = 812 (instructions)"]);
    report.sections[1].findings[0].compare = Compare::Never;
    assert!(compare(&report, &baseline).unknown.is_empty());
}

#[test]
fn takes_no_number_for_worse() {
    let (mut report, baseline) = pair();
    set(&mut report, RATIO, f64::NAN);
    assert_eq!(compare(&report, &baseline).regressions.len(), 1);
}

#[test]
fn keeps_the_better_of_two_ratios_only() {
    let (mut report, _) = pair();
    let mut again = report.clone();
    set(&mut again, RATIO, 1.2);
    set(&mut again, COUNT, 1.0);
    keep_best(&mut report, &again);
    assert_eq!(report.finding(RATIO).map(|f| f.value), Some(1.2));
    assert_eq!(report.finding(COUNT).map(|f| f.value), Some(812.0), "counts have no best");

    report.sections[0].findings[0].compare = Compare::NotAbove(0.1);
    set(&mut again, RATIO, 0.9);
    keep_best(&mut report, &again);
    set(&mut again, RATIO, 1.3);
    keep_best(&mut report, &again);
    assert_eq!(report.finding(RATIO).map(|f| f.value), Some(0.9));
}

#[test]
fn says_what_to_do() {
    let (mut report, baseline) = pair();
    assert!(describe_outcome(&compare(&report, &baseline), 1).contains("2 numbers compared: none is worse"));
    set(&mut report, COUNT, 900.0);
    let text = describe_outcome(&compare(&report, &baseline), 3);
    assert!(text.contains("best of 3 measurements: 1 IS WORSE"), "{text}");
    assert!(text.contains("program/insns: 812 -> 900 (+10.8 %): instructions"), "{text}");
    assert!(text.contains("--save-baseline"), "{text}");
}
