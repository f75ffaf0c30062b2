//! `doctor`: looks at everything that a put and a get need, and says what is wrong and what to do.
//!
//! It changes nothing. Checks go from here outward, so that the first that fails is the likely cause of others.

mod chain;
mod journal;
mod local;
mod peers;

pub(super) use self::chain::head_age;
use super::Output;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::{Doctor, Finding, State};
use crate::text;

/// Columns of the word for a check, and of the state before it.
const CHECK: usize = 10;
const INDENT: usize = 6 + CHECK;
/// Lines are not broken shorter than this, however narrow the terminal.
const NARROWEST: usize = 20;

/// Makes every check.
pub(crate) async fn run(context: &Context) -> Result {
    let mut findings = local::settings(context);
    let owner = local::key(context, &mut findings);
    findings.extend(local::ledger(context, owner.as_ref()).await);
    findings.extend(local::machine(context));
    findings.extend(peers::check(context).await);
    told(&context.out, &findings)
}

/// Tells of settings with which no check can be made.
pub(crate) fn unusable(out: &Output, failure: Failure) -> Result {
    let remedy = if failure.hints.is_empty() { "correct it".to_owned() } else { failure.hints.join("; ") };
    told(out, &[Finding::fail("config", failure.code, failure.message, remedy)])
}

fn told(out: &Output, findings: &[Finding]) -> Result {
    let verdict = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Pass);
    if out.json {
        out.document(&Doctor { schema: "dstore.doctor/1", verdict, checks: findings })?;
    } else {
        out.lines(&findings.iter().flat_map(|finding| lines(out, finding)).collect::<Vec<_>>())?;
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (failed, warned) = (count(State::Fail), count(State::Warn));
    match findings.iter().find_map(|finding| finding.code) {
        None if warned == 0 => out.note("nothing is wrong"),
        None => out.note(&format!("{} to look at; nothing that stops you", text::count(warned, "thing"))),
        Some(code) => {
            let checks = text::count(findings.len(), "check");
            let failure = Failure::new(code, format!("{failed} of {checks} failed: do what they say, from the top"));
            return Err(Failure { retryable: matches!(failure.exit, 5 | 12), ..failure });
        }
    }
    Ok(())
}

fn lines(out: &Output, finding: &Finding) -> Vec<String> {
    let (word, color) = match finding.state {
        State::Pass => ("PASS", "32"),
        State::Warn => ("WARN", "33"),
        State::Fail => ("FAIL", "31"),
    };
    let width = out.columns().map_or(usize::MAX, |columns| columns.saturating_sub(INDENT).max(NARROWEST));
    let message = text::wrapped(&text::harmless(&finding.message), width);
    let remedy = finding.remedy.iter().flat_map(|remedy| {
        let lines = text::wrapped(&text::harmless(remedy), width.saturating_sub(3));
        lines.into_iter().enumerate().map(|(at, line)| format!("{} {line}", if at == 0 { "->" } else { "  " }))
    });
    let texts = message.into_iter().chain(remedy).enumerate();
    let line = |(at, text)| match at {
        0 => format!("{}  {:<CHECK$}{text}", out.painted_data(word, color), finding.check),
        _ => format!("{:INDENT$}{text}", ""),
    };
    texts.map(line).collect()
}
